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
{# items of a tile, eight elements each: one more than it takes, so that tiles begin in different banks #}
{% set stride = matrix.k // 8 + 1 %}
{% set row = matrix.n // 8 + 1 %}
{% set part_items = steps * bm * matrix.k // 8 %}
{% set loads = parts | length * part_items // invocations %}
{% set right_items = steps * matrix.k * bn // 8 %}
{% set right_loads = parts | length * right_items // invocations %}
{% block declarations %}
{% if left_in_workgroup %}
// x: [high or low part][k / {{ matrix.k }}][tile][k % {{ matrix.k }} / 8], the bits of eight f16 an item
var<workgroup> left: array<vec4<u32>, {{ parts | length * steps * bm * stride }}>;

{% endif %}
{% if right_in_workgroup %}
// w: [high or low part][k / {{ matrix.k }}][n / {{ matrix.n }}][k % {{ matrix.k }}][n % {{ matrix.n }} / 8]
var<workgroup> right: array<vec4<u32>, {{ parts | length * steps * (bn // matrix.n) * matrix.k * row }}>;

{% endif %}
{{ units.functions(operands=['left' if left_in_workgroup else 'x', 'right' if right_in_workgroup else 'w'], sums=['y'], words=['left', 'right']) }}
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
{% if right_in_workgroup %}
  let w_step = params.n_fragments * {{ fragment // 8 }};
  var w_at = params.base_w + position * params.k_fragments * w_step + i32(workgroup_id.y) * {{ bn // matrix.n * fragment // 8 }};
{% for l in range(right_loads) %}
  var next_right{{ l }} = vec4<u32>();
{% endfor %}
{% else %}
  let w_step = params.n_fragments * {{ fragment }};
  var w_at = params.base_w + position * params.k_fragments * w_step + own_n * {{ fragment }};
{% endif %}
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
{% if right_in_workgroup %}
{% for l in range(right_loads) %}
{% set item = '(local + %d)' % (l * invocations) %}
{% set step_items = right_items // steps %}
      next_right{{ l }} = w[w_at + {{ item ~ ' / %d * params.w_low + ' % right_items if split }}{{ item }} % {{ right_items }} / {{ step_items }} * w_step + {{ item }} % {{ step_items }}];
{% endfor %}
      w_at += {{ steps }} * w_step;
{% endif %}
    }
    if (k >= 0) {
{% else %}
  for (var k = 0; k < params.k_fragments; k += {{ steps }}) {
    {
{% endif %}
{% for step in range(steps) %}
{% for part in parts %}
{% for j in range(columns) %}
{% if right_in_workgroup %}
      let right{{ step }}_{{ part }}{{ j }} = {{ units.load_right('right', '(subgroup %% %d * %d + %d) * %d' % (across, columns, ((steps if part == "low" else 0) + step) * (bn // matrix.n) + j, matrix.k * row), row, words=true) }};
{% else %}
      let right{{ step }}_{{ part }}{{ j }} = {{ units.load_right('w', 'w_at + %d * w_step + %d%s' % (step, j * fragment, ' + params.w_low' if part == 'low' else ''), matrix.n) }};
{% endif %}
{% endfor %}
{% for i in range(rows) %}
{% if left_in_workgroup %}
      let left{{ step }}_{{ part }}{{ i }} = {{ units.load_left('left', 'own_m * %d + %d' % (stride, (((steps if part == "low" else 0) + step) * bm + i * matrix.m) * stride), stride, words=true) }};
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
{% if not right_in_workgroup %}
      w_at += {{ steps }} * w_step;
{% endif %}
    }
{% if left_in_workgroup %}
    workgroupBarrier();
{% for l in range(loads) %}
    left[(local + {{ l * invocations }}) / {{ matrix.k // 8 }} * {{ stride }} + local % {{ matrix.k // 8 }}] = next{{ l }};
{% endfor %}
{% if right_in_workgroup %}
{% for l in range(right_loads) %}
    right[(local + {{ l * invocations }}) / {{ matrix.n // 8 }} * {{ row }} + local % {{ matrix.n // 8 }}] = next_right{{ l }};
{% endfor %}
{% endif %}
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
