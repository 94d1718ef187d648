// Second step of a Winograd convolution: a matrix product for each position of the transform.
//
//   y[p, tile, n] = sum over k of x[p, tile, k] * w[p, k, n]
//
// x is [p, k / {{ bk }}, tile, k % {{ bk }}] (winograd_input), w [p, k / {{ bk }}, n / {{ bn }}, k % {{ bk }}, n % {{ bn }}], y [p, tile, n]; tiles, k and n are padded to
// whole tiles of the product. What lies in the rows of padding tiles is of no account, and comes to no other row.
// Each workgroup computes {{ bm }} x {{ bn }} of a position, each invocation {{ tm }} x {{ tn }} of it, in steps of {{ bk }} along k. Both operands go
// through workgroup memory, x with four tiles an item: a step of one k reads {{ tm // 4 }} + {{ tn // 4 }} items for {{ tm * tn }} products.
//
// Rows of the dispatch are rows of {{ bm }} tiles. The host guarantees: every binding holds its operand whole.
{% extends "bases/kernel.wgsl" %}
{% set S = 'vec4<f32>' %}
{% set columns = bn // tn %}
{% set rows = bm // tm %}
{% set invocations = rows * columns %}
{% set k4s = bk // 4 %}
{% set n4s = bn // 4 %}
{% set m4s = bm // 4 %}
{% set tn4 = tn // 4 %}
{% set a_loads = bm * k4s // invocations %}
{% set b_loads = bk * n4s // invocations %}
{% set a_step = invocations // k4s %}
{# one item more than it takes, so that the four k of a load are stored to different banks #}
{% set a_stride = m4s + 1 %}
{% block declarations %}
// x: [k][tile / 4], and w: [k][n / 4]
var<workgroup> tile_a: array<{{ S }}, {{ bk * a_stride }}>;
var<workgroup> tile_b: array<{{ S }}, {{ bk * n4s }}>;
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}
{% block main %}
  let local = i32(local_index);
  let tile_m = (params.first + i32(workgroup_id.x)) * {{ bm }};
  let block_n = i32(workgroup_id.y);
  let position = i32(workgroup_id.z);
  // this invocation's first item of either operand, and how far the next step lies
  var x_at = params.base_x + (position * params.steps * params.tiles + tile_m) * {{ k4s }} + local;
  let x_step = params.tiles * {{ k4s }};
  var w_at = params.base_w + (position * params.steps * params.blocks_n + block_n) * {{ bk * n4s }} + local;
  let w_step = params.blocks_n * {{ bk * n4s }};

{% with turned = true %}
{% include "parts/tile_begin.wgsl" %}
{% endwith %}
{% with item = S %}
{% include "parts/tile_ahead.wgsl" %}
{% endwith %}

  // the loads of a step are under way while the step before it multiplies: the first round only loads
  for (var step = -1; step < params.steps; step += 1) {
    if (step + 1 < params.steps) {
{% for l in range(a_loads) %}
      a_next{{ l }} = x[x_at + {{ l * invocations }}];
{% endfor %}
{% for l in range(b_loads) %}
      b_next{{ l }} = {{ S }}(w[w_at + {{ l * invocations }}]);
{% endfor %}
      x_at += x_step;
      w_at += w_step;
    }
    if (step >= 0) {
{% for k in range(bk) %}
      {
{% for i in range(tm // 4) %}
        let a{{ i }} = tile_a[{{ k * a_stride + i * rows }} + own_m];
{% endfor %}
{% for j in range(tn4) %}
        let b{{ j }} = tile_b[{{ k * n4s + j * columns }} + own_n4];
{% endfor %}
{% for i in range(tm) %}
{% for j in range(tn4) %}
        c{{ i }}_{{ j }} = fma({{ S }}(a{{ i // 4 }}.{{ 'xyzw'[i % 4] }}), b{{ j }}, c{{ i }}_{{ j }});
{% endfor %}
{% endfor %}
      }
{% endfor %}
    }
    workgroupBarrier();
{% for l in range(a_loads) %}
    {
      let m = local / {{ k4s }} + {{ l * a_step }};
      let at = local % {{ k4s }} * {{ 4 * a_stride }} + m / 4;
{% for e in range(4) %}
      tile_a[at + {{ e * a_stride }}][m % 4] = a_next{{ l }}.{{ 'xyzw'[e] }};
{% endfor %}
    }
{% endfor %}
{% for l in range(b_loads) %}
    tile_b[local + {{ l * invocations }}] = b_next{{ l }};
{% endfor %}
    workgroupBarrier();
  }

{% for i in range(tm) %}
  {
    let m = tile_m + (own_m + {{ i // 4 * rows }}) * 4 + {{ i % 4 }};
    let at = params.base_y + (position * params.tiles + m) * (params.blocks_n * {{ n4s }}) + block_n * {{ n4s }} + own_n4;
{% for j in range(tn4) %}
    y[at + {{ j * columns }}] = c{{ i }}_{{ j }};
{% endfor %}
  }
{% endfor %}
{% endblock %}
