// Attention within the windows of a grid of tokens (see window_attention.wgsl) on matrix units: operands of f16, scores and
// sums of f32.
//
//   y[t] = sum over keys of softmax(scale q[t] . k + bias + mask) v
//
// Each workgroup computes {{ queries }} queries of one head of one window, each subgroup {{ matrix.m }} of them. Its scores of all {{ keys }} keys stay in
// fragments, and go through workgroup memory {{ columns }} at a time, where {{ lanes_a_row }} invocations have a row between them, and keep it. Weights,
// at most 1, come back as f16, over the keys and queries, which nobody reads any more; what they sum to divides the result.
//
// Layouts are those of window_attention.wgsl, but for bias: [heads, queries, keys] up to whole workgroups and fragments, of
// f32, and below all scores behind the last key.
// The host guarantees: every tensor lies whole within its bindings; subgroups have {{ matrix.lanes }} invocations, side by side in the
// workgroup; fragments fill heads, keys and the columns that go through memory at a time.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set fours = size // 4 %}
{% set area = window * window %}
{% set lanes = matrix.lanes %}
{# eight elements more than it takes, so that rows begin in different banks #}
{% set row = size + 8 %}
{% set weights_row = keys + 8 %}
{% set sums_row = [columns, size] | max + 4 %}
{% set shares = columns // lanes_a_row %}
{% block declarations %}
var<workgroup> token_of: array<i32, {{ area }}>;
{% if mask_value %}
var<workgroup> region_of: array<i32, {{ area }}>;
{% endif %}
// keys and queries, [place][channel]; then weights, [query][key]
var<workgroup> operands: array<f16, {{ [(keys + queries) * row, queries * weights_row] | max }}>;
// [key][channel]
var<workgroup> values: array<f16, {{ keys * row }}>;
// [query][key, channel]
var<workgroup> sums: array<f32, {{ queries * sums_row }}>;
// what each invocation has of its row
var<workgroup> of_row: array<f32, {{ invocations }}>;

{{ units.functions(operands=['operands', 'values'], sums=['sums'], loaded=['bias']) }}
{% include "parts/window.wgsl" %}

// Four channels of the token at a place of the window, zeros behind the last one.
fn load_place(image: i32, place: i32, channel: i32) -> vec4<f32> {
{% if area % matrix.n %}
  return select(vec4<f32>(), load(image, token_of[min(place, {{ area - 1 }})], channel), place < {{ area }});
{% else %}
  return load(image, token_of[min(place, {{ area - 1 }})], channel);
{% endif %}
}
{% endblock %}
{% block main %}
{% include "parts/window_begin.wgsl" %}

  let first_query = group % {{ blocks }} * {{ queries }};
  for (var item = local; item < {{ keys * fours }}; item += {{ invocations }}) {
    let place = item / {{ fours }};
    let channel = item % {{ fours }} * 4;
    let at = place * {{ row }} + channel;
    let key = vec4<f16>(load_place(image, place, params.channels + head * {{ size }} + channel));
    let value = vec4<f16>(load_place(image, place, 2 * params.channels + head * {{ size }} + channel));
{% for e in range(4) %}
    operands[at + {{ e }}] = key.{{ 'xyzw'[e] }};
    values[at + {{ e }}] = value.{{ 'xyzw'[e] }};
{% endfor %}
  }
  for (var item = local; item < {{ queries * fours }}; item += {{ invocations }}) {
    let place = item / {{ fours }};
    let channel = item % {{ fours }} * 4;
    let at = ({{ keys }} + place) * {{ row }} + channel;
    let query = vec4<f16>(load_place(image, first_query + place, head * {{ size }} + channel) * {{ scale }});
{% for e in range(4) %}
    operands[at + {{ e }}] = query.{{ 'xyzw'[e] }};
{% endfor %}
  }
  workgroupBarrier();

  let own_row = local / {{ lanes }} * {{ matrix.m }};
  let bias_at = params.base_bias + (head * {{ blocks * queries }} + first_query + own_row) * {{ keys }};
{% for kk in range(size // matrix.k) %}
  let query{{ kk }} = {{ units.load_left('operands', '(%d + own_row) * %d + %d' % (keys, row, kk * matrix.k), row) }};
{% endfor %}
{% for j in range(keys // matrix.n) %}
  var score{{ j }} = {{ units.load_sums('bias', 'bias_at + %d' % (j * matrix.n), keys) }};
{% for kk in range(size // matrix.k) %}
  score{{ j }} = {{ units.multiply_accumulate('query%d' % kk, units.load_right('operands', '%d' % (j * matrix.n * row + kk * matrix.k), row, turned=true), 'score%d' % j) }};
{% endfor %}
{% endfor %}

  // this invocation's share of the scores of one query: columns own_column, own_column + {{ lanes_a_row }}, …
  let own_query = local / {{ lanes_a_row }};
  let own_column = local % {{ lanes_a_row }};
  let own_sums = own_query * {{ sums_row }} + own_column;
{% if mask_value %}
  let own_region = region_of[min(first_query + own_query, {{ area - 1 }})];
{% endif %}
  var largest = -3.0e38;
{% for first in range(0, keys, columns) %}
{% for j in range(columns // matrix.n) %}
  {{ units.store('sums', 'own_row * %d + %d' % (sums_row, j * matrix.n), 'score%d' % (first // matrix.n + j), sums_row) }};
{% endfor %}
  workgroupBarrier();
{% for i in range(shares) %}
{% set at = first + i * lanes_a_row %}
  let s{{ first // columns }}_{{ i }} = sums[own_sums + {{ i * lanes_a_row }}]{{ ' + select(0.0, %s, region_of[min(own_column + %d, %d)] != own_region)' % (mask_value, at, area - 1) if mask_value }};
  largest = max(largest, s{{ first // columns }}_{{ i }});
{% endfor %}
  workgroupBarrier();
{% endfor %}
  of_row[local] = largest;
  workgroupBarrier();
{% for other in range(lanes_a_row) %}
  largest = max(largest, of_row[own_query * {{ lanes_a_row }} + {{ other }}]);
{% endfor %}
  workgroupBarrier();

  var total = 0.0;
{% for first in range(0, keys, columns) %}
{% for i in range(shares) %}
  let w{{ first // columns }}_{{ i }} = f16(exp(s{{ first // columns }}_{{ i }} - largest));
  operands[own_query * {{ weights_row }} + own_column + {{ first + i * lanes_a_row }}] = w{{ first // columns }}_{{ i }};
  total += f32(w{{ first // columns }}_{{ i }});
{% endfor %}
{% endfor %}
  of_row[local] = total;
  workgroupBarrier();

{% for j in range(size // matrix.n) %}
  var sum{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% for kk in range(keys // matrix.k) %}
  let weights{{ kk }} = {{ units.load_left('operands', 'own_row * %d + %d' % (weights_row, kk * matrix.k), weights_row) }};
{% for j in range(size // matrix.n) %}
  sum{{ j }} = {{ units.multiply_accumulate('weights%d' % kk, units.load_right('values', '%d' % (kk * matrix.k * row + j * matrix.n), row), 'sum%d' % j) }};
{% endfor %}
{% endfor %}
{% for j in range(size // matrix.n) %}
  {{ units.store('sums', 'own_row * %d + %d' % (sums_row, j * matrix.n), 'sum%d' % j, sums_row) }};
{% endfor %}
  workgroupBarrier();

  for (var item = local; item < {{ queries * fours }}; item += {{ invocations }}) {
    let place = item / {{ fours }};
    let token = token_of[min(first_query + place, {{ area - 1 }})];
    if (first_query + place < {{ area }} && token >= 0) {
      let at = place * {{ sums_row }} + item % {{ fours }} * 4;
      let sum = vec4<f32>(sums[at], sums[at + 1], sums[at + 2], sums[at + 3]);
      let all = {% for other in range(lanes_a_row) %}of_row[place * {{ lanes_a_row }} + {{ other }}]{{ ' + ' if not loop.last }}{% endfor %};
      y[params.base_y + (image * params.y_image + token * params.y_token + head * {{ size }}) / 4 + item % {{ fours }}] = {{ item }}(sum / all);
    }
  }
{% endblock %}
