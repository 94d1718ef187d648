// Second step of a Winograd convolution: a matrix product for each position of the transform.
//
//   y[p, tile, n] = sum over k of x[p, tile, k] * w[p, k, n]
//
// x is [p, k / {{ bk }}, tile, k % {{ bk }}] (winograd_input), w [p, k / {{ bk }}, n / {{ bn }}, k % {{ bk }}, n % {{ bn }}], y [p, tile, n]; tiles, k and n are padded to
// whole tiles of the product. What lies in the rows of padding tiles is of no account, and comes to no other row.
// Each workgroup computes {{ bm }} x {{ bn }} of a position, each invocation {{ tm }} x {{ tn }} of it, in steps of {{ bk }} along k.
//
// Rows of the dispatch are rows of {{ bm }} tiles. The host guarantees: every binding holds its operand whole.
{% extends "bases/tile.wgsl" %}
{% set kind = 'f32' %}
{% set vector = true %}
{% block loads %}
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

{% include "parts/tile_begin.wgsl" %}
{% with item = S %}
{% include "parts/tile_ahead.wgsl" %}
{% endwith %}
{% if buffers == 2 %}
  var half = 0;
{% endif %}
{% set at_a = 'half * ' ~ (bm * k4s) ~ ' + ' if buffers == 2 else '' %}
{% set at_b = 'half * ' ~ (bk * n4s) ~ ' + ' if buffers == 2 else '' %}

  // the loads of a step are under way while the step before it multiplies: the first round only loads
  for (var step = -1; step < params.steps; step += 1) {
    if (step + 1 < params.steps) {
{% for l in range(a_loads) %}
      a_next{{ l }} = x[x_at + {{ l * invocations }}];
{% endfor %}
{% for l in range(b_loads) %}
      b_next{{ l }} = w[w_at + {{ l * invocations }}];
{% endfor %}
      x_at += x_step;
      w_at += w_step;
    }
    if (step >= 0) {
{% include "parts/tile_multiply.wgsl" %}
    }
{% if buffers == 2 %}
    half = 1 - half;
{% else %}
    workgroupBarrier();
{% endif %}
{% for l in range(a_loads) %}
    tile_a[{{ at_a }}local % {{ k4s }} * {{ bm }} + ((local / {{ k4s }} + {{ l * a_step }}) ^ (local % {{ k4s }} * {{ mix }}))] = a_next{{ l }};
{% endfor %}
{% for l in range(b_loads) %}
    tile_b[{{ at_b }}local + {{ l * invocations }}] = b_next{{ l }};
{% endfor %}
    workgroupBarrier();
  }

{% for i in range(tm) %}
  let y_at{{ i }} = params.base_y + (position * params.tiles + tile_m + own_m + {{ i * rows }}) * (params.blocks_n * {{ n4s }}) + block_n * {{ n4s }} + own_n4;
{% for j in range(tn4) %}
  y[y_at{{ i }} + {{ j * columns }}] = c{{ i }}_{{ j }};
{% endfor %}
{% endfor %}
{% endblock %}
