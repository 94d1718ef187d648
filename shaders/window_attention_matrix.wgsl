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
{% set keeps_regions = mask_value != '' %}
{% set lanes = matrix.lanes %}
{% set eights = size // 8 %}
{# eights of a row of columns that an invocation has #}
{% set shares = columns // 8 // lanes_a_row %}
{# what an invocation loads: eights of keys and values, and of queries #}
{% set key_loads = -(-keys * eights // invocations) %}
{% set query_loads = -(-queries * eights // invocations) %}
{% block declarations %}
{% if keeps_regions %}
var<workgroup> region_of: array<i32, {{ area }}>;
{% endif %}
// keys and queries, [place][channel], then weights, [query][key]; values, [key][channel]; sums: [query][key or channel]
var<workgroup> memory: array<vec4<u32>, {{ layout.items }}>;
// the largest score that each invocation has, and what its weights sum to
var<workgroup> of_row: array<vec2<f32>, {{ invocations }}>;

{{ units.functions(operands=['memory'], sums=['memory'], words=['memory'], loaded=['bias']) }}
{% include "parts/window.wgsl" %}

fn words(four: vec4<f16>) -> vec2<u32> {
  return {{ units.words('four') }};
}
{% endblock %}
{# the eight of each of this invocation's places from channel `first_channel` of the projections on, into registers. No
   branch, which would wait for each load: what is off the grid reads token 0, and counts as padding. #}
{% macro load_places(name, first_channel, places, count) %}
{% set channel = '%s + own_channel' % first_channel %}
{% if has_padding %}
{% set four = 'vec4<f16>(padding[params.base_padding + (%s) / 4%s])' %}
  let {{ name }}_padding = vec4<u32>(words({{ four % (channel, '') }}), words({{ four % (channel, ' + 1') }}));
{% endif %}
{% for l in range(count) %}
{% set loaded = 'load(image, max(%s_token%d, 0), %s)' % (places, l, channel) %}
  let {{ name }}{{ l }} = {{ 'select(%s_padding, %s, %s_token%d >= 0)' % (name, loaded, places, l) if has_padding else loaded }};
{% endfor %}
{% endmacro %}
{# from registers to the memory; zeros behind the last place, as no number times the weight 0 may be NaN #}
{% macro keep_places(name, begin) %}
{% for l in range(key_loads) %}
{% set item = '%s%d' % (name, l) %}
  memory[{{ begin }} + key_place{{ l }} * {{ layout.row }} + own_eight] = {{ 'select(vec4<u32>(), %s, key_place%d < %d)' % (item, l, area) if area < keys else item }};
{% endfor %}
{% endmacro %}
{% block main %}
{% include "parts/window_begin.wgsl" %}
  let first_query = group % {{ blocks }} * {{ queries }};
  let head_channel = head * {{ size }};

  // this invocation's share of the loads: eight own_eight of places {{ invocations // eights }} apart
  let own_eight = local % {{ eights }};
  let own_channel = head_channel + own_eight * 8;
{% for l in range(key_loads) %}
  let key_place{{ l }} = min(local / {{ eights }} + {{ l * (invocations // eights) }}, {{ keys - 1 }});
  let key_token{{ l }} = token_at(down, across, min(key_place{{ l }}, {{ area - 1 }}));
{% endfor %}
{% for l in range(query_loads) %}
  let query_place{{ l }} = min(local / {{ eights }} + {{ l * (invocations // eights) }}, {{ queries - 1 }});
  let query_token{{ l }} = token_at(down, across, min(first_query + query_place{{ l }}, {{ area - 1 }}));
{% endfor %}
{{ load_places('key', 'params.channels', 'key', key_loads) }}
{{ load_places('value', '2 * params.channels', 'key', key_loads) }}
{{ load_places('query', '0', 'query', query_loads) }}
  let own_row = local / {{ lanes }} * {{ matrix.m }};
  let bias_at = params.base_bias + (head * {{ blocks * queries }} + first_query + own_row) * {{ keys }};
{% for j in range(keys // matrix.n) %}
  var score{{ j }} = {{ units.load_sums('bias', 'bias_at + %d' % (j * matrix.n), keys) }};
{% endfor %}
{{ keep_places('key', 0) }}
{{ keep_places('value', layout.values_at) }}
{% for l in range(query_loads) %}
{% for e in range(4) %}
  let pair{{ l }}_{{ e }} = unpack2x16float(query{{ l }}.{{ 'xyzw'[e] }}) * {{ scale }};
{% endfor %}
  memory[{{ layout.queries_at }} + query_place{{ l }} * {{ layout.row }} + own_eight] = vec4<u32>({% for e in range(0, 4, 2) %}words(vec4<f16>(vec4<f32>(pair{{ l }}_{{ e }}, pair{{ l }}_{{ e + 1 }}))){{ ', ' if not loop.last }}{% endfor %});
{% endfor %}
  workgroupBarrier();

{% for kk in range(size // matrix.k) %}
  let left{{ kk }} = {{ units.load_left('memory', '%d + own_row * %d' % (layout.queries_at + kk * matrix.k // 8, layout.row), layout.row, words=true) }};
{% endfor %}
{% for j in range(keys // matrix.n) %}
{% for kk in range(size // matrix.k) %}
  score{{ j }} = {{ units.multiply_accumulate('left%d' % kk, units.load_right('memory', '%d' % (j * matrix.n * layout.row + kk * matrix.k // 8), layout.row, words=true, turned=true), 'score%d' % j) }};
{% endfor %}
{% endfor %}

  // this invocation's share of the scores of one query: eights own_share, own_share + {{ lanes_a_row }}, … of each round
  let own_query = local / {{ lanes_a_row }};
  let own_share = local % {{ lanes_a_row }};
  let own_sums = {{ layout.sums_at }} + own_query * {{ layout.sums_row }} + own_share * 2;
{% for first in range(0, keys, columns) %}
{% set round = first // columns %}
{% if round %}
  workgroupBarrier();
{% endif %}
{% for j in range(columns // matrix.n) %}
  {{ units.store('memory', '%d + own_row * %d' % (layout.sums_at + j * matrix.n // 4, layout.sums_row), 'score%d' % (first // matrix.n + j), layout.sums_row, words=true) }};
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
  let own_weights = own_query * {{ layout.weights_row }} + own_share;
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
  let weights{{ kk }} = {{ units.load_left('memory', 'own_row * %d + %d' % (layout.weights_row, kk * matrix.k // 8), layout.weights_row, words=true) }};
{% for j in range(size // matrix.n) %}
  sum{{ j }} = {{ units.multiply_accumulate('weights%d' % kk, units.load_right('memory', '%d' % (layout.values_at + kk * matrix.k * layout.row + j * matrix.n // 8), layout.row, words=true), 'sum%d' % j) }};
{% endfor %}
{% endfor %}
{% for j in range(size // matrix.n) %}
  {{ units.store('memory', '%d + own_row * %d' % (layout.sums_at + j * matrix.n // 4, layout.sums_row), 'sum%d' % j, layout.sums_row, words=true) }};
{% endfor %}
  workgroupBarrier();

  for (var item = local; item < {{ queries * size // 4 }}; item += {{ invocations }}) {
    let place = item / {{ size // 4 }};
    let token = token_at(down, across, min(first_query + place, {{ area - 1 }}));
    if (first_query + place < {{ area }} && token >= 0) {
      let sum = bitcast<vec4<f32>>(memory[{{ layout.sums_at }} + place * {{ layout.sums_row }} + item % {{ size // 4 }}]);
      let all = {% for other in range(lanes_a_row) %}of_row[place * {{ lanes_a_row }} + {{ other }}].y{{ ' + ' if not loop.last }}{% endfor %};
      y[params.base_y + (image * params.y_image + token * params.y_token + head_channel) / 4 + item % {{ size // 4 }}] = {{ item }}(sum / all);
    }
  }
{% endblock %}
