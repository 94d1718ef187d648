// Second step of a Winograd convolution on matrix units: a matrix product for each position of the transform.
//
//   y[p, tile, n] = Σ over k of x[p, tile, k] · w[p, k, n]
//
// x is [high or low part, p, k / {{ matrix.k }}, tile, k % {{ matrix.k }}] (winograd_input), w [high or low part, p, k / {{ matrix.k }}, n / {{ matrix.n }}] fragments of
// {{ matrix.k }} x {{ matrix.n }}, both of f16; y [p, tile, n] of f32. Tiles, k and n are padded to whole tiles of the product. What lies in the rows
// of padding tiles is of no account, and comes to no other row.
// An operand is the sum of its parts: three products, high · high, high · low and low · high, go into the same sums.
// Each workgroup computes {{ bm }} x {{ bn }} of a position, each subgroup {{ sm }} x {{ sn }} of it, in steps of {{ bk }} along k. The left operand goes
// through workgroup memory; the right one comes straight from memory, where a fragment lies side by side.
//
// Rows of the dispatch are rows of {{ bm }} tiles. The host guarantees: every binding holds its operand whole; subgroups have
// {{ matrix.lanes }} invocations, side by side in the workgroup.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set across = bn // sn %}
{% set invocations = bm // sm * across * matrix.lanes %}
{% set rows = sm // matrix.m %}
{% set columns = sn // matrix.n %}
{% set steps = bk // matrix.k %}
{% set fragment = matrix.k * matrix.n %}
{# items of eight elements: of a tile, between tiles, so that they begin in different banks, of a block of k, and of a part #}
{% set items = matrix.k // 8 %}
{% set stride = items + 1 %}
{% set block_items = bm * items %}
{% set part_items = steps * block_items %}
{% set loads = 2 * part_items // invocations %}
{% block declarations %}
// x: [high or low part][k / {{ matrix.k }}][tile][k % {{ matrix.k }} / 8], the bits of eight f16 an item
var<workgroup> left: array<vec4<u32>, {{ 2 * steps * bm * stride }}>;

{{ units.functions(operands=['left', 'w'], sums=['y'], words=['left']) }}
{% endblock %}
{% block grid %}
  @builtin(workgroup_id) workgroup_id: vec3<u32>,
{% endblock %}
{% block main %}
  let local = i32(local_index);
  let subgroup = local / {{ matrix.lanes }};
  let tile_m = (params.first + i32(workgroup_id.x)) * {{ bm }};
  let own_m = subgroup / {{ across }} * {{ sm }};
  let own_n = i32(workgroup_id.y) * {{ bn // matrix.n }} + subgroup % {{ across }} * {{ columns }};
  let position = i32(workgroup_id.z);
  let x_step = params.tiles * {{ items }};
  var x_at = params.base_x + position * params.k_fragments * x_step + tile_m * {{ items }};
  let w_step = params.n_fragments * {{ fragment }};
  var w_at = params.base_w + position * params.k_fragments * w_step + own_n * {{ fragment }};
{% for l in range(loads) %}
  var next{{ l }} = vec4<u32>();
{% endfor %}
{% for i in range(rows) %}
{% for j in range(columns) %}
  var c{{ i }}_{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% endfor %}

  // the loads of a step are under way while the step before it multiplies: the first round only loads
  for (var k = {{ -steps }}; k < params.k_fragments; k += {{ steps }}) {
    if (k + {{ steps }} < params.k_fragments) {
{% for l in range(loads) %}
{% set item = '(local + %d)' % (l * invocations) %}
      next{{ l }} = x[x_at + {{ item }} / {{ part_items }} * params.x_low + {{ item }} % {{ part_items }} / {{ block_items }} * x_step + {{ item }} % {{ block_items }}];
{% endfor %}
      x_at += {{ steps }} * x_step;
    }
    if (k >= 0) {
{% for step in range(steps) %}
{% for part in ('high', 'low') %}
{% for j in range(columns) %}
      let right{{ step }}_{{ part }}{{ j }} = {{ units.load_right('w', 'w_at + %d * w_step + %d%s' % (step, j * fragment, ' + params.w_low' if part == 'low' else ''), matrix.n) }};
{% endfor %}
{% set block = (steps if part == 'low' else 0) + step %}
{% for i in range(rows) %}
      let left{{ step }}_{{ part }}{{ i }} = {{ units.load_left('left', 'own_m * %d + %d' % (stride, (block * bm + i * matrix.m) * stride), stride, words=true) }};
{% endfor %}
{% endfor %}
{% endfor %}
{% for step in range(steps) %}
{% for l, r in (('high', 'high'), ('high', 'low'), ('low', 'high')) %}
{% for i in range(rows) %}
{% for j in range(columns) %}
      c{{ i }}_{{ j }} = {{ units.multiply_accumulate('left%d_%s%d' % (step, l, i), 'right%d_%s%d' % (step, r, j), 'c%d_%d' % (i, j)) }};
{% endfor %}
{% endfor %}
{% endfor %}
{% endfor %}
      w_at += {{ steps }} * w_step;
    }
    workgroupBarrier();
{% for l in range(loads) %}
    left[(local + {{ l * invocations }}) / {{ items }} * {{ stride }} + local % {{ items }}] = next{{ l }};
{% endfor %}
    workgroupBarrier();
  }

  let y_at = params.base_y + (position * params.tiles + tile_m + own_m) * params.n_padded + own_n * {{ matrix.n }};
{% for i in range(rows) %}
{% for j in range(columns) %}
  {{ units.store('y', 'y_at + %d * params.n_padded + %d' % (i * matrix.m, j * matrix.n), 'c%d_%d' % (i, j), 'params.n_padded') }};
{% endfor %}
{% endfor %}
{% endblock %}
