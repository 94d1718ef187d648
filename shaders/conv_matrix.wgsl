// Convolution as an implicit matrix product (see conv.wgsl) on matrix units: operands of f16, sums of f32.
//
// Each workgroup computes a tile of {{ bm }} pixels x {{ bn }} channels, each subgroup {{ sm }} x {{ sn }} of it in fragments of {{ matrix.m }} x {{ matrix.n }}, in
// steps of {{ bk }} along k. Sums leave the fragments through workgroup memory, one fragment a subgroup at a time, since only
// there can the epilogue know whose they are.
{% if partial %}
// The k axis is cut into parts: workgroup z computes one part of the sums, and a second kernel (conv_sum) adds the parts.
{% endif %}
//
// The host guarantees: count pixels lie within every binding; subgroups have {{ matrix.lanes }} invocations, side by side in the
// workgroup; channels come in fours; w is padded to whole tiles with zeros; a subgroup's share is whole fragments.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set lanes = matrix.lanes %}
{% set fm = matrix.m %}
{% set fn = matrix.n %}
{% set fk = matrix.k %}
{% set invocations = (bm // sm) * (bn // sn) * lanes %}
{% set k4s = bk // 4 %}
{% set n4s = bn // 4 %}
{% set a_loads = bm * k4s // invocations %}
{% set b_loads = bk * n4s // invocations %}
{% set a_step = invocations // k4s %}
{# eight elements more than it takes, so that rows begin in different banks #}
{% set a_stride = bk + 8 %}
{% set b_stride = bn + 8 %}
{% set S = 'vec4<f32>' %}
{% set integer = false %}
{% set turned = false %}
{% set vec = 4 if vector else 1 %}
{% block declarations %}

// x: [m][k]
var<workgroup> tile_a: array<f16, {{ bm * a_stride }}>;
// w: [k][n]
var<workgroup> tile_b: array<f16, {{ bk * b_stride }}>;
// sums: [subgroup][m][n]
var<workgroup> sums: array<f32, {{ invocations // lanes * fm * fn }}>;

{{ units.functions(operands=['tile_a', 'tile_b'], sums=['sums']) }}
{% include "parts/conv_loader.wgsl" %}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}
{% block main %}
{% include "parts/conv_begin.wgsl" %}

  let subgroup = local / {{ lanes }};
  let own_m = subgroup / {{ bn // sn }} * {{ sm }};
  let own_n = subgroup % {{ bn // sn }} * {{ sn }};
{% for i in range(sm // fm) %}
{% for j in range(sn // fn) %}
  var c{{ i }}_{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% endfor %}
{% with item = 'vec4<f16>' %}
{% include "parts/tile_ahead.wgsl" %}
{% endwith %}

  // the loads of a step are under way while the step before it multiplies: the first round only loads
  for (var step = first_step - 1; step < last_step; step += 1) {
    if (step + 1 < last_step) {
{% for l in range(a_loads) %}
      a_next{{ l }} = vec4<f16>(load_x(p{{ l }}, tap_y, tap_x, first_channel + channel));
{% endfor %}
{% for l in range(b_loads) %}
      b_next{{ l }} = w[w_at + (local + {{ l * invocations }}) / {{ n4s }} * w_row + (local + {{ l * invocations }}) % {{ n4s }}];
{% endfor %}
{% include "parts/conv_advance.wgsl" %}
    }
    if (step >= first_step) {
{% for kk in range(bk // fk) %}
      {
{% for j in range(sn // fn) %}
        let right{{ j }} = {{ units.load_right('tile_b', 'own_n + ' ~ (kk * fk * b_stride + j * fn), b_stride) }};
{% endfor %}
{% for i in range(sm // fm) %}
        let left{{ i }} = {{ units.load_left('tile_a', '(own_m + ' ~ i * fm ~ ') * ' ~ a_stride ~ ' + ' ~ kk * fk, a_stride) }};
{% for j in range(sn // fn) %}
        c{{ i }}_{{ j }} = {{ units.multiply_accumulate('left' ~ i, 'right' ~ j, 'c' ~ i ~ '_' ~ j) }};
{% endfor %}
{% endfor %}
      }
{% endfor %}
    }
    workgroupBarrier();
{% for l in range(a_loads) %}
    {
      let at = (load_m + {{ l * a_step }}) * {{ a_stride }} + load_k4 * 4;
{% for e in range(4) %}
      tile_a[at + {{ e }}] = a_next{{ l }}.{{ 'xyzw'[e] }};
{% endfor %}
    }
{% endfor %}
{% for l in range(b_loads) %}
    {
      let at = (local + {{ l * invocations }}) / {{ n4s }} * {{ b_stride }} + (local + {{ l * invocations }}) % {{ n4s }} * 4;
{% for e in range(4) %}
      tile_b[at + {{ e }}] = b_next{{ l }}.{{ 'xyzw'[e] }};
{% endfor %}
    }
{% endfor %}
    workgroupBarrier();
  }

  let lane = local % {{ lanes }};
  let own = subgroup * {{ fm * fn }};
{% for i in range(sm // fm) %}
{% for j in range(sn // fn) %}
  {{ units.store('sums', 'own', 'c' ~ i ~ '_' ~ j, fn) }};
  workgroupBarrier();
  for (var item = lane; item < {{ fm * fn // 4 }}; item += {{ lanes }}) {
    let m = tile_m + own_m + {{ i * fm }} + item / {{ fn // 4 }};
    if (m <= last_m) {
      let at = own + item * 4;
      let four = vec4<f32>(sums[at], sums[at + 1], sums[at + 2], sums[at + 3]);
      store(m, group, tile_n + own_n + {{ j * fn }} + item % {{ fn // 4 }} * 4, four{{ ', part' if partial }});
    }
  }
  workgroupBarrier();
{% endfor %}
{% endfor %}
{% endblock %}
{% block store %}
{% include "parts/conv_store.wgsl" %}
{% endblock %}
