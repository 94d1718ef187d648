// Second step of a Winograd convolution on matrix units: a matrix product for each position of the transform.
//
//   y[p, tile, n] = Σ over k of x[p, tile, k] · w[p, k, n]
//
// x is [{{ 'high or low part, ' if split }}p, k / {{ matrix.k }}, tile, k % {{ matrix.k }}] (winograd_input), w [{{ 'high or low part, ' if split }}p, k / {{ matrix.k }}, n / {{ matrix.n }}] fragments of {{ matrix.k }} x {{ matrix.n }}, both of f16;
// y [p, tile, n] of f32. Tiles, k and n are padded to whole tiles of the product. What lies in the rows of padding tiles is of no
// account, and comes to no other row.
{% if split %}
// An operand is the sum of its parts: three products, high · high, high · low and low · high, go into the same sums.
{% endif %}
// Each workgroup computes {{ bm }} x {{ bn }} of a position, each subgroup {{ sm }} x {{ sn }} of it, in steps of {{ bk }} along k. {% if left_in_workgroup %}The left operand goes
// through workgroup memory; the right one comes straight from memory, where a fragment lies side by side.
{%- else %}Fragments come straight from
// memory, where each lies side by side: no invocation waits for those of another subgroup.
{%- endif %}

//
// Rows of the dispatch are rows of {{ bm }} tiles. The host guarantees: every binding holds its operand whole; subgroups have
// {{ matrix.lanes }} invocations, side by side in the workgroup.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set lanes = matrix.lanes %}
{% set across = bn // sn %}
{% set invocations = bm // sm * across * lanes %}
{% set rows = sm // matrix.m %}
{% set columns = sn // matrix.n %}
{% set steps = bk // matrix.k %}
{% set fragment = matrix.k * matrix.n %}
{% set parts = ['high', 'low'] if split else ['high'] %}
{% set products = [('high', 'high'), ('high', 'low'), ('low', 'high')] if split else [('high', 'high')] %}
{# eight elements more than it takes, so that tiles begin in different banks #}
{% set stride = matrix.k + 8 %}
{% set part_items = steps * bm * matrix.k // 8 %}
{% set loads = parts | length * part_items // invocations %}
{% block declarations %}
{% if left_in_workgroup %}
// x: [high or low part][k / {{ matrix.k }}][tile][k % {{ matrix.k }}]
var<workgroup> left: array<f16, {{ parts | length * steps * bm * stride }}>;

{% endif %}
{{ units.functions(operands=['left' if left_in_workgroup else 'x', 'w'], sums=['y']) }}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}
{% block main %}
  let local = i32(local_index);
  let subgroup = local / {{ lanes }};
  let tile_m = (params.first + i32(workgroup_id.x)) * {{ bm }};
  let own_m = subgroup / {{ across }} * {{ sm }};
  let own_n = i32(workgroup_id.y) * {{ bn // matrix.n }} + subgroup % {{ across }} * {{ columns }};
  let position = i32(workgroup_id.z);
{% if left_in_workgroup %}
  // items of eight elements
  let x_step = params.tiles * {{ matrix.k // 8 }};
  var x_at = params.base_x + position * params.k_fragments * x_step + tile_m * {{ matrix.k // 8 }};
{% for l in range(loads) %}
  var next{{ l }} = vec4<u32>();
{% endfor %}
{% else %}
  let x_step = params.tiles * {{ matrix.k }};
  var x_at = params.base_x + position * params.k_fragments * x_step + (tile_m + own_m) * {{ matrix.k }};
{% endif %}
  let w_step = params.n_fragments * {{ fragment }};
  var w_at = params.base_w + position * params.k_fragments * w_step + own_n * {{ fragment }};
{% for i in range(rows) %}
{% for j in range(columns) %}
  var c{{ i }}_{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% endfor %}

{% if left_in_workgroup %}
  // the loads of a step are under way while the step before it multiplies: the first round only loads
  for (var k = {{ -steps }}; k < params.k_fragments; k += {{ steps }}) {
    if (k + {{ steps }} < params.k_fragments) {
{% for l in range(loads) %}
{% set item = '(local + %d)' % (l * invocations) %}
      next{{ l }} = x[x_at + {{ item ~ ' / %d * params.x_low + ' % part_items if split }}{{ item }} % {{ part_items }} / {{ bm * matrix.k // 8 }} * x_step + {{ item }} % {{ bm * matrix.k // 8 }}];
{% endfor %}
      x_at += {{ steps }} * x_step;
    }
    if (k >= 0) {
{% else %}
  for (var k = 0; k < params.k_fragments; k += {{ steps }}) {
    {
{% endif %}
{% for step in range(steps) %}
{% for part in parts %}
{% for j in range(columns) %}
      let right{{ step }}_{{ part }}{{ j }} = {{ units.load_right('w', 'w_at + %d * w_step + %d%s' % (step, j * fragment, ' + params.w_low' if part == 'low' else ''), matrix.n) }};
{% endfor %}
{% for i in range(rows) %}
{% if left_in_workgroup %}
      let left{{ step }}_{{ part }}{{ i }} = {{ units.load_left('left', 'own_m * %d + %d' % (stride, (((steps if part == "low" else 0) + step) * bm + i * matrix.m) * stride), stride) }};
{% else %}
      let left{{ step }}_{{ part }}{{ i }} = {{ units.load_left('x', 'x_at + %d * x_step + %d%s' % (step, i * matrix.m * matrix.k, ' + params.x_low' if part == 'low' else ''), matrix.k) }};
{% endif %}
{% endfor %}
{% endfor %}
{% endfor %}
{% for step in range(steps) %}
{% for l, r in products %}
{% for i in range(rows) %}
{% for j in range(columns) %}
      c{{ i }}_{{ j }} = {{ units.multiply_accumulate('left%d_%s%d' % (step, l, i), 'right%d_%s%d' % (step, r, j), 'c%d_%d' % (i, j)) }};
{% endfor %}
{% endfor %}
{% endfor %}
{% endfor %}
      w_at += {{ steps }} * w_step;
    }
{% if left_in_workgroup %}
    workgroupBarrier();
{% for l in range(loads) %}
    {
      let at = (local + {{ l * invocations }}) / {{ matrix.k // 8 }} * {{ stride }} + local % {{ matrix.k // 8 }} * 8;
{% for e in range(4) %}
      let pair{{ e }} = {{ units.pair('next%d.%s' % (l, 'xyzw'[e])) }};
      left[at + {{ 2 * e }}] = pair{{ e }}.x;
      left[at + {{ 2 * e + 1 }}] = pair{{ e }}.y;
{% endfor %}
    }
{% endfor %}
    workgroupBarrier();
{% else %}
    x_at += {{ steps }} * x_step;
{% endif %}
  }

  let y_at = params.base_y + (position * params.tiles + tile_m + own_m) * params.n_padded + own_n * {{ matrix.n }};
{% for i in range(rows) %}
{% for j in range(columns) %}
  {{ units.store('y', 'y_at + %d * params.n_padded + %d' % (i * matrix.m, j * matrix.n), 'c%d_%d' % (i, j), 'params.n_padded') }};
{% endfor %}
{% endfor %}
{% endblock %}
