// Attention within the windows of a grid of tokens (see window_attention.wgsl) on matrix units: operands of f16, scores and
// sums of f32.
//
//   y[t] = sum over keys of softmax(scale q[t] . k + bias + mask) v
//
// Each workgroup computes {{ queries }} queries of one head of one window, each subgroup {{ matrix.m }} of them. The scores of all {{ keys }} keys stay in
// fragments, and go through workgroup memory {{ columns }} at a time, where {{ lanes_a_row }} invocations have a row between them, and keep it. Weights,
// at most 1, come back as f16, over the keys and queries, which nobody reads any more; what they sum to divides the result.
//
// Layouts are those of window_attention.wgsl, but for x, of f16 in eights, and bias: [heads, queries, keys] up to whole
// workgroups and fragments, of f32, and below all scores behind the last key.
// The host guarantees: every tensor lies whole within its bindings; subgroups have {{ matrix.lanes }} invocations, side by side in the
// workgroup; fragments fill heads, keys and the columns that go through memory at a time.
{% extends "bases/kernel.wgsl" %}
{% import "parts/matrix_units.wgsl" as units with context %}
{% set area = window * window %}
{% set keeps_tokens = false %}
{% set lanes = matrix.lanes %}
{# workgroup memory, in items of eight f16 or four f32; an odd number of items a row, so that rows begin in different banks #}
{% set eights = size // 8 %}
{% set row = eights + 1 - eights % 2 %}
{% set weights_row = keys // 8 + 1 - keys // 8 % 2 %}
{% set sums_row = [columns, size] | max // 4 + 1 %}
{% set values_at = [(keys + queries) * row, queries * weights_row] | max %}
{% set sums_at = values_at + keys * row %}
{# eights of a row of columns that an invocation has #}
{% set shares = columns // 8 // lanes_a_row %}
{# what an invocation loads: eights of keys and values, and of queries #}
{% set key_loads = -(-keys * eights // invocations) %}
{% set query_loads = -(-queries * eights // invocations) %}
{% block declarations %}
{% if mask_value %}
var<workgroup> region_of: array<i32, {{ area }}>;
{% endif %}
// keys and queries, [place][channel], then weights, [query][key]; values, [key][channel]; sums: [query][key or channel]
var<workgroup> memory: array<vec4<u32>, {{ sums_at + queries * sums_row }}>;
// the largest score that each invocation has, and what its weights sum to
var<workgroup> of_row: array<vec2<f32>, {{ invocations }}>;

{{ units.functions(operands=['memory'], sums=['memory'], words=['memory'], loaded=['bias']) }}
{% include "parts/window.wgsl" %}

fn words(four: vec4<f16>) -> vec2<u32> {
  return {{ units.words('four') }};
}

// Eight channels of the token at a place of the window; behind the last place those of that one.
fn load_place(image: i32, down: i32, across: i32, place: i32, channel: i32) -> vec4<u32> {
  let token = token_at(down, across, min(place, {{ area - 1 }}));
{% if has_padding %}
  if (token < 0) {
    let at = params.base_padding + channel / 4;
    return vec4<u32>(words(vec4<f16>(padding[at])), words(vec4<f16>(padding[at + 1])));
  }
{% endif %}
  return load(image, token, channel);
}
{% endblock %}
{% block main %}
{% include "parts/window_begin.wgsl" %}
  let first_query = group % {{ blocks }} * {{ queries }};
  let head_channel = head * {{ size }};

{% for l in range(key_loads) %}
{% set item = 'local + %d' % (l * invocations) if (l + 1) * invocations <= keys * eights else 'min(local + %d, %d)' % (l * invocations, keys * eights - 1) %}
  let item{{ l }} = {{ item }};
  let key{{ l }} = load_place(image, down, across, item{{ l }} / {{ eights }}, params.channels + head_channel + item{{ l }} % {{ eights }} * 8);
  let value{{ l }} = load_place(image, down, across, item{{ l }} / {{ eights }}, 2 * params.channels + head_channel + item{{ l }} % {{ eights }} * 8);
{% endfor %}
{% for l in range(query_loads) %}
{% set item = 'local + %d' % (l * invocations) if (l + 1) * invocations <= queries * eights else 'min(local + %d, %d)' % (l * invocations, queries * eights - 1) %}
  let query_item{{ l }} = {{ item }};
  let loaded{{ l }} = load_place(image, down, across, first_query + query_item{{ l }} / {{ eights }}, head_channel + query_item{{ l }} % {{ eights }} * 8);
{% endfor %}
{% for l in range(key_loads) %}
{% set at = 'item%d / %d * %d + item%d %% %d' % (l, eights, row, l, eights) %}
{% if area < keys %}
  // no number times the weight 0 of a key behind the last one may be NaN
  let is_key{{ l }} = item{{ l }} / {{ eights }} < {{ area }};
  memory[{{ at }}] = select(vec4<u32>(), key{{ l }}, is_key{{ l }});
  memory[{{ values_at }} + {{ at }}] = select(vec4<u32>(), value{{ l }}, is_key{{ l }});
{% else %}
  memory[{{ at }}] = key{{ l }};
  memory[{{ values_at }} + {{ at }}] = value{{ l }};
{% endif %}
{% endfor %}
{% for l in range(query_loads) %}
{% for e in range(4) %}
  let pair{{ l }}_{{ e }} = vec2<f32>({{ units.pair('loaded%d.%s' % (l, 'xyzw'[e])) }}) * {{ scale }};
{% endfor %}
  memory[({{ keys }} + query_item{{ l }} / {{ eights }}) * {{ row }} + query_item{{ l }} % {{ eights }}] = vec4<u32>({% for e in range(0, 4, 2) %}words(vec4<f16>(vec4<f32>(pair{{ l }}_{{ e }}, pair{{ l }}_{{ e + 1 }}))){{ ', ' if not loop.last }}{% endfor %});
{% endfor %}
  workgroupBarrier();

  let own_row = local / {{ lanes }} * {{ matrix.m }};
  let bias_at = params.base_bias + (head * {{ blocks * queries }} + first_query + own_row) * {{ keys }};
{% for kk in range(size // matrix.k) %}
  let query{{ kk }} = {{ units.load_left('memory', '(%d + own_row) * %d + %d' % (keys, row, kk * matrix.k // 8), row, words=true) }};
{% endfor %}
{% for j in range(keys // matrix.n) %}
  var score{{ j }} = {{ units.load_sums('bias', 'bias_at + %d' % (j * matrix.n), keys) }};
{% endfor %}
{% for j in range(keys // matrix.n) %}
{% for kk in range(size // matrix.k) %}
  score{{ j }} = {{ units.multiply_accumulate('query%d' % kk, units.load_right('memory', '%d' % (j * matrix.n * row + kk * matrix.k // 8), row, words=true, turned=true), 'score%d' % j) }};
{% endfor %}
{% endfor %}

  // this invocation's share of the scores of one query: eights own_share, own_share + {{ lanes_a_row }}, … of each round
  let own_query = local / {{ lanes_a_row }};
  let own_share = local % {{ lanes_a_row }};
  let own_sums = {{ sums_at }} + own_query * {{ sums_row }} + own_share * 2;
{% for first in range(0, keys, columns) %}
{% set round = first // columns %}
{% if round %}
  workgroupBarrier();
{% endif %}
{% for j in range(columns // matrix.n) %}
  {{ units.store('memory', '%d + own_row * %d' % (sums_at + j * matrix.n // 4, sums_row), 'score%d' % (first // matrix.n + j), sums_row, words=true) }};
{% endfor %}
  workgroupBarrier();
{% for i in range(shares) %}
{% for half in range(2) %}
  var s{{ round }}_{{ i }}_{{ half }} = bitcast<vec4<f32>>(memory[own_sums + {{ i * lanes_a_row * 2 + half }}]);
{% endfor %}
{% endfor %}
{% endfor %}
{% if mask_value %}
  if (down == params.padded_height / {{ window }} - 1 || across == params.across - 1) {
    let own_region = region_of[min(first_query + own_query, {{ area - 1 }})];
{% for first in range(0, keys, columns) %}
{% for i in range(shares) %}
{% for half in range(2) %}
{% for e in range(4) %}
    s{{ first // columns }}_{{ i }}_{{ half }}.{{ 'xyzw'[e] }} += select({{ mask_value }}, 0.0, region_of[min({{ first + i * lanes_a_row * 8 + half * 4 + e }} + own_share * 8, {{ area - 1 }})] == own_region);
{% endfor %}
{% endfor %}
{% endfor %}
{% endfor %}
  }
{% endif %}
  var four = vec4<f32>(-3.0e38);
{% for round in range(keys // columns) %}
{% for i in range(shares) %}
  four = max(four, max(s{{ round }}_{{ i }}_0, s{{ round }}_{{ i }}_1));
{% endfor %}
{% endfor %}
  var largest = max(max(four.x, four.y), max(four.z, four.w));
  of_row[local].x = largest;
  workgroupBarrier();
{% for other in range(lanes_a_row) %}
  largest = max(largest, of_row[own_query * {{ lanes_a_row }} + {{ other }}].x);
{% endfor %}

  four = vec4<f32>();
  let own_weights = own_query * {{ weights_row }} + own_share;
{% for round in range(keys // columns) %}
{% for i in range(shares) %}
  {
{% for half in range(2) %}
    let weights{{ half }} = vec4<f16>(exp(s{{ round }}_{{ i }}_{{ half }} - largest));
    four += vec4<f32>(weights{{ half }});
{% endfor %}
    memory[own_weights + {{ round * columns // 8 + i * lanes_a_row }}] = vec4<u32>(words(weights0), words(weights1));
  }
{% endfor %}
{% endfor %}
  of_row[local].y = four.x + four.y + four.z + four.w;
  workgroupBarrier();

{% for j in range(size // matrix.n) %}
  var sum{{ j }}: {{ units.sums_type() }};
{% endfor %}
{% for kk in range(keys // matrix.k) %}
  let weights{{ kk }} = {{ units.load_left('memory', 'own_row * %d + %d' % (weights_row, kk * matrix.k // 8), weights_row, words=true) }};
{% for j in range(size // matrix.n) %}
  sum{{ j }} = {{ units.multiply_accumulate('weights%d' % kk, units.load_right('memory', '%d' % (values_at + kk * matrix.k * row + j * matrix.n // 8), row, words=true), 'sum%d' % j) }};
{% endfor %}
{% endfor %}
{% for j in range(size // matrix.n) %}
  {{ units.store('memory', '%d + own_row * %d' % (sums_at + j * matrix.n // 4, sums_row), 'sum%d' % j, sums_row, words=true) }};
{% endfor %}
  workgroupBarrier();

  for (var item = local; item < {{ queries * size // 4 }}; item += {{ invocations }}) {
    let place = item / {{ size // 4 }};
    let token = token_at(down, across, min(first_query + place, {{ area - 1 }}));
    if (first_query + place < {{ area }} && token >= 0) {
      let sum = bitcast<vec4<f32>>(memory[{{ sums_at }} + place * {{ sums_row }} + item % {{ size // 4 }}]);
      let all = {% for other in range(lanes_a_row) %}of_row[place * {{ lanes_a_row }} + {{ other }}].y{{ ' + ' if not loop.last }}{% endfor %};
      y[params.base_y + (image * params.y_image + token * params.y_token + head_channel) / 4 + item % {{ size // 4 }}] = {{ item }}(sum / all);
    }
  }
{% endblock %}
