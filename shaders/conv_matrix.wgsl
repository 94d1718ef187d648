// Convolution as an implicit matrix product (see conv.wgsl) on matrix units: operands of f16, sums of f32.
//
// Each workgroup computes a tile of {{ bm }} pixels x {{ bn }} channels, each subgroup {{ sm }} x {{ sn }} of it in fragments of {{ matrix.m }} x {{ matrix.n }}, in
// steps of {{ bk }} along k. Sums leave the fragments through workgroup memory, a row of fragments at a time, since only there
// can the epilogue know whose they are.
{% if across_k > 1 %}
// {{ across_k }} subgroups have the same sums: each step along k is shared out between them, and what they have is added at the end.
{% endif %}
{% if split %}
//
// Operands are f32, cut into two f16 (parts/split.wgsl). Three products, high · high, high · low and low · high, go into the
// same sums; low · low is below their rounding. `unscale` undoes the scales of x and of each channel of w.
{% endif %}
//
{% if weights_in_workgroup %}
// w: [{{ 'high or low part, ' if split }}group, K up to a multiple of {{ bk }}, N up to a multiple of {{ bn }}], the rest zero.
{% else %}
// w: [{{ 'high or low part, ' if split }}group, N up to a multiple of {{ bn }} / {{ matrix.n }}, K up to a multiple of {{ bk }} / {{ matrix.k }}] fragments of {{ matrix.k }} x {{ matrix.n }}, the rest zero,
// which are loaded straight from memory.
{% endif %}
// The host guarantees: count pixels lie within every binding; subgroups have {{ matrix.lanes }} invocations, side by side in the
// workgroup; channels come in fours; a subgroup's share is whole fragments.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set lanes = matrix.lanes %}
{% set invocations = (bm // sm) * (bn // sn) * across_k * lanes %}
{% set k4s = bk // 4 %}
{% set n4s = bn // 4 %}
{% set a_loads = bm * k4s // invocations %}
{% set b_loads = bk * n4s // invocations if weights_in_workgroup else 0 %}
{% set fragment = matrix.k * matrix.n %}
{% set a_step = invocations // k4s %}
{# eight elements more than it takes, so that rows begin in different banks #}
{% set a_stride = bk + 8 %}
{% set b_stride = bn + 8 %}
{% set sums_stride = sums_columns + 8 %}
{% set parts = ['high', 'low'] if split else ['high'] %}
{% set products = [('high', 'high'), ('high', 'low'), ('low', 'high')] if split else [('high', 'high')] %}
{% set A = 'vec4<f32>' if split else 'vec4<f16>' %}
{% set S = 'vec4<f32>' %}
{% set integer = false %}
{% set turned = false %}
{% set partial = false %}
{% set vec = 4 if vector else 1 %}
{% block declarations %}

{% for part in parts %}
// x: [m][k]
var<workgroup> a_{{ part }}: array<f16, {{ bm * a_stride }}>;
{% if weights_in_workgroup %}
// w: [k][n]
var<workgroup> b_{{ part }}: array<f16, {{ bk * b_stride }}>;
{% endif %}
{% endfor %}
// sums: [subgroup][m][n]
var<workgroup> sums: array<f32, {{ invocations // lanes * matrix.m * sums_stride }}>;

{% set left_arrays = ['a_high', 'a_low'] if split else ['a_high'] %}
{% set right_arrays = (['b_high', 'b_low'] if split else ['b_high']) if weights_in_workgroup else ['w'] %}
{{ units.functions(operands=left_arrays + right_arrays, sums=['sums']) }}
{% if split %}
{% include "parts/split.wgsl" %}
{% endif %}
{% if not dense %}
{% include "parts/conv_loader.wgsl" %}
{% endif %}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}
{% block main %}
{% include "parts/conv_begin.wgsl" %}

  let subgroup = local / {{ lanes }};
  let own_sums = subgroup / {{ across_k }};
  let own_m = own_sums / {{ bn // sn }} * {{ sm }};
  let own_n = own_sums % {{ bn // sn }} * {{ sn }};
{% if across_k > 1 %}
  let own_k = subgroup % {{ across_k }} * {{ bk // across_k }};
{% endif %}
{% if not weights_in_workgroup %}
  let k_fragments = params.steps * {{ bk // matrix.k }};
  let own_w = params.base_w + (group * params.n_padded + tile_n + own_n) / {{ matrix.n }} * k_fragments * {{ fragment }}{{ ' + own_k * %d' % matrix.n if across_k > 1 }};
{% endif %}
{% for i in range(sm // matrix.m) %}
{% for j in range(sn // matrix.n) %}
  var c{{ i }}_{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% endfor %}
{% for l in range(a_loads) %}
  var a_next{{ l }} = {{ A }}();
{% endfor %}
{% for part in parts %}
{% for l in range(b_loads) %}
  var b_{{ part }}_next{{ l }} = vec4<f16>();
{% endfor %}
{% endfor %}

  // the loads of a step are under way while the step before it multiplies: the first round only loads
  for (var step = first_step - 1; step < last_step; step += 1) {
    if (step + 1 < last_step) {
{% for l in range(a_loads) %}
      a_next{{ l }} = {{ A }}({{ 'x[x_at%d]' % l if dense else 'load_x(p%d, tap_y, tap_x, first_channel + channel)' % l }});
{% endfor %}
{% for part in parts %}
{% for l in range(b_loads) %}
{% set item = '(local + %d)' % (l * invocations) %}
      b_{{ part }}_next{{ l }} = w[w_at{{ ' + params.w_low' if part == 'low' }} + {{ item }} / {{ n4s }} * w_row + {{ item }} % {{ n4s }}];
{% endfor %}
{% endfor %}
{% include "parts/conv_advance.wgsl" %}
    }
    if (step >= first_step) {
{% for kk in range(bk // across_k // matrix.k) %}
{% set k = kk * matrix.k ~ (' + own_k' if across_k > 1 else '') %}
      {
{% for j in range(sn // matrix.n) %}
{% for part in parts %}
{% if weights_in_workgroup %}
        let right_{{ part }}{{ j }} = {{ units.load_right('b_' ~ part, '(%s) * %d + own_n + %d' % (k, b_stride, j * matrix.n), b_stride) }};
{% else %}
{% set at = 'own_w + (%d * k_fragments + step * %d + %d) * %d' % (j, bk // matrix.k, kk, fragment) %}
        let right_{{ part }}{{ j }} = {{ units.load_right('w', at ~ (' + params.w_low' if part == 'low' else ''), matrix.n) }};
{% endif %}
{% endfor %}
{% endfor %}
{% for i in range(sm // matrix.m) %}
{% for part in parts %}
        let left_{{ part }}{{ i }} = {{ units.load_left('a_' ~ part, '(own_m + %d) * %d + %s' % (i * matrix.m, a_stride, k), a_stride) }};
{% endfor %}
{% for left, right in products %}
{% for j in range(sn // matrix.n) %}
        c{{ i }}_{{ j }} = {{ units.multiply_accumulate('left_%s%d' % (left, i), 'right_%s%d' % (right, j), 'c%d_%d' % (i, j)) }};
{% endfor %}
{% endfor %}
{% endfor %}
      }
{% endfor %}
    }
    workgroupBarrier();
{% for l in range(a_loads) %}
    {
      let at = (load_m + {{ l * a_step }}) * {{ a_stride }} + load_k4 * 4;
{% if split %}
      let held = held_by_halves(a_next{{ l }});
      let high = high_part(held);
      let parts_high = vec4<f16>(high);
      let parts_low = vec4<f16>(held - high);
{% else %}
      let parts_high = a_next{{ l }};
{% endif %}
{% for part in parts %}
{% for e in range(4) %}
      a_{{ part }}[at + {{ e }}] = parts_{{ part }}.{{ 'xyzw'[e] }};
{% endfor %}
{% endfor %}
    }
{% endfor %}
{% for l in range(b_loads) %}
{% set item = '(local + %d)' % (l * invocations) %}
    {
      let at = {{ item }} / {{ n4s }} * {{ b_stride }} + {{ item }} % {{ n4s }} * 4;
{% for part in parts %}
{% for e in range(4) %}
      b_{{ part }}[at + {{ e }}] = b_{{ part }}_next{{ l }}.{{ 'xyzw'[e] }};
{% endfor %}
{% endfor %}
    }
{% endfor %}
    workgroupBarrier();
  }

{# sums that leave at a time: a row of fragments, or as many of it as there is room for #}
{% set fours = sums_columns // 4 %}
{% set place = matrix.m * sums_stride %}
  // those who share its sums share a row of fragments out by fours
  let share = local % {{ across_k * lanes }};
{% for i in range(sm // matrix.m) %}
{% for first in range(0, sn, sums_columns) %}
{% for j in range(sums_columns // matrix.n) %}
  {{ units.store('sums', 'subgroup * %d' % place ~ ' + %d' % (j * matrix.n), 'c%d_%d' % (i, first // matrix.n + j), sums_stride) }};
{% endfor %}
  workgroupBarrier();
  for (var item = share; item < {{ matrix.m * fours }}; item += {{ across_k * lanes }}) {
    let m = tile_m + own_m + {{ i * matrix.m }} + item / {{ fours }};
    if (m <= last_m) {
      let at = own_sums * {{ across_k * place }} + item / {{ fours }} * {{ sums_stride }} + item % {{ fours }} * 4;
      var four = vec4<f32>(sums[at], sums[at + 1], sums[at + 2], sums[at + 3]);
{% for other in range(1, across_k) %}
{% set more = other * place %}
      four += vec4<f32>(sums[at + {{ more }}], sums[at + {{ more + 1 }}], sums[at + {{ more + 2 }}], sums[at + {{ more + 3 }}]);
{% endfor %}
      let n = tile_n + own_n + {{ first }} + item % {{ fours }} * 4;
{% if split %}
      four *= unscale[params.base_unscale + (group * params.n_padded + n) / 4];
{% endif %}
      store(m, group, n, four);
    }
  }
  workgroupBarrier();
{% endfor %}
{% endfor %}
{% endblock %}
{% block store %}
{% include "parts/conv_store.wgsl" %}
{% endblock %}
