// Attention within the windows of a grid of tokens (see window_attention.wgsl), as two matrix products in register tiles.
//
//   y[t] = sum over keys of softmax(scale q[t] . k + bias + mask) v
//
// Each workgroup computes {{ query_groups * query_fours * 4 }} queries of one head of one window, and has the scores of all {{ key_groups * own_keys }} keys in registers: an
// invocation those of {{ query_fours * 4 }} queries and {{ own_keys }} keys, from {{ slice * 4 }} channels of queries and keys in workgroup memory at a time. As weights they
// come back through that memory, {{ key_groups * chunk }} keys at a time with their values, and invocations multiply them into sums of {{ query_fours * 4 }} queries
// and 4 channels, {{ parts }} for the same sums, each over other keys. Memory is scarce: what a workgroup takes decides how many of them
// run side by side.
//
// Layouts are those of window_attention.wgsl, but for bias: [heads, blocks, own key, own four of queries, invocation, query in
// the four] up to whole workgroups, of f32, and -infinity behind the last key.
// The host guarantees: every tensor lies whole within its bindings; slices fill a head, and chunks what an invocation has of keys.
{% extends "bases/kernel.wgsl" %}
{% set area = window * window %}
{% set keeps_tokens = true %}
{% set keeps_regions = false %}
{% set fours = size // 4 %}
{% set keys = key_groups * own_keys %}
{% set query_rows = query_groups * query_fours %}
{% set queries = query_rows * 4 %}
{% set chunk_keys = chunk * key_groups %}
{% set part_keys = chunk_keys // parts %}
{# what an invocation loads at a time #}
{% set query_loads = -(-queries * slice // invocations) %}
{% set key_loads = -(-keys * slice // invocations) %}
{% set value_loads = -(-chunk_keys * fours // invocations) %}
{% block declarations %}
var<workgroup> token_of: array<i32, {{ area }}>;
// queries and keys, [channel / 4][place]; then what each invocation has of extremes and totals, [key group][query / 4]; then weights,
// [query / 4][key], and values, [key][channel / 4]; then sums, [part][channel / 4][query]
var<workgroup> memory: array<vec4<f32>, {{ layout.items }}>;
// the largest score of each query, then the sum of its weights
var<workgroup> of_query: array<f32, {{ queries }}>;

{% include "parts/window.wgsl" %}
{% endblock %}
{# the values of chunk `number` of the keys, into registers #}
{% macro load_values(number) %}
{% for l in range(value_loads) %}
  let value{{ number }}_{{ l }} = load_padded(image, token_of[min({{ number * chunk_keys }} + (local + {{ l * invocations }}) / {{ fours }}, {{ area - 1 }})], 2 * params.channels + head_channel + (local + {{ l * invocations }}) % {{ fours }} * 4);
{% endfor %}
{% endmacro %}
{# `statement` for load `l` of those that are shared out; the last may be for some invocations only #}
{% macro shared_out(l, all, statement) %}
{% if (l + 1) * invocations > all %}
    if (local + {{ l * invocations }} < {{ all }}) {
      {{ statement }}
    }
{% else %}
    {{ statement }}
{% endif %}
{% endmacro %}
{% block main %}
{% include "parts/window_begin.wgsl" %}
  let block = group % {{ blocks }};
  let first_query = block * {{ queries }};
  let head_channel = head * {{ size }};
  // this invocation's fours of queries and its keys: every {{ query_groups }}th and every {{ key_groups }}th
  let own_four = local / {{ key_groups }};
  let own_key = local % {{ key_groups }};

  let bias_at = params.base_bias + (head * {{ blocks }} + block) * {{ own_keys * query_fours * invocations }} + local;
{% for t in range(own_keys) %}
{% for f in range(query_fours) %}
  var s{{ t }}_{{ f }} = bias[bias_at + {{ (t * query_fours + f) * invocations }}];
{% endfor %}
{% endfor %}
{% if mask_value %}
  if (down == params.padded_height / {{ window }} - 1 || across == params.across - 1) {
{% for f in range(query_fours) %}
    let regions{{ f }} = vec4<i32>({% for e in range(4) %}region_at(down, across, min(first_query + (own_four + {{ f * query_groups }}) * 4 + {{ e }}, {{ area - 1 }})){{ ', ' if not loop.last }}{% endfor %});
{% endfor %}
{% for t in range(own_keys) %}
    let region{{ t }} = vec4<i32>(region_at(down, across, min(own_key + {{ t * key_groups }}, {{ area - 1 }})));
{% for f in range(query_fours) %}
    s{{ t }}_{{ f }} += select(vec4<f32>(), vec4<f32>({{ mask_value }}), regions{{ f }} != region{{ t }});
{% endfor %}
{% endfor %}
  }
{% endif %}

  for (var first = 0; first < {{ fours }}; first += {{ slice }}) {
    let first_channel = head_channel + first * 4;
{% for l in range(query_loads) %}
    let query{{ l }} = load_padded(image, token_of[min(first_query + (local + {{ l * invocations }}) / {{ slice }}, {{ area - 1 }})], first_channel + (local + {{ l * invocations }}) % {{ slice }} * 4);
{% endfor %}
{% for l in range(key_loads) %}
    let key{{ l }} = load_padded(image, token_of[min((local + {{ l * invocations }}) / {{ slice }}, {{ area - 1 }})], params.channels + first_channel + (local + {{ l * invocations }}) % {{ slice }} * 4);
{% endfor %}
{% for l in range(query_loads) %}
{{ shared_out(l, queries * slice, 'memory[(local + %d) %% %d * %d + (local + %d) / %d] = query%d * %s;' % (l * invocations, slice, layout.query_row, l * invocations, slice, l, scale)) }}
{% endfor %}
{% for l in range(key_loads) %}
{{ shared_out(l, keys * slice, 'memory[%d + (local + %d) %% %d * %d + (local + %d) / %d] = key%d;' % (layout.keys_at, l * invocations, slice, layout.key_row, l * invocations, slice, l)) }}
{% endfor %}
    workgroupBarrier();
    for (var c = 0; c < {{ slice }}; c += 1) {
      let queries_from = c * {{ layout.query_row }} + own_four * 4;
      let keys_from = {{ layout.keys_at }} + c * {{ layout.key_row }} + own_key;
{% for f in range(query_fours) %}
{% for e in range(4) %}
      let q{{ f }}_{{ e }} = memory[queries_from + {{ f * query_groups * 4 + e }}];
{% endfor %}
{% endfor %}
{% for t in range(own_keys) %}
      let k{{ t }} = memory[keys_from + {{ t * key_groups }}];
{% for x in 'xyzw' %}
{% for f in range(query_fours) %}
      s{{ t }}_{{ f }} = fma(vec4<f32>({% for e in range(4) %}q{{ f }}_{{ e }}.{{ x }}{{ ', ' if not loop.last }}{% endfor %}), vec4<f32>(k{{ t }}.{{ x }}), s{{ t }}_{{ f }});
{% endfor %}
{% endfor %}
{% endfor %}
    }
    workgroupBarrier();
  }
{{ load_values(0) }}
{# the same of each query over all keys: of what each invocation has to `of_query` #}
{% macro of_all(name, operation) %}
{% for f in range(query_fours) %}
  memory[own_key * {{ layout.extremes_row }} + own_four + {{ f * query_groups }}] = {{ name }}{{ f }};
{% endfor %}
  workgroupBarrier();
  for (var query = local; query < {{ queries }}; query += {{ invocations }}) {
    var all = memory[query / 4][query % 4];
    for (var other = 1; other < {{ key_groups }}; other += 1) {
      let one = memory[other * {{ layout.extremes_row }} + query / 4][query % 4];
      all = {{ operation }};
    }
    of_query[query] = all;
  }
  workgroupBarrier();
{% endmacro %}
{% for f in range(query_fours) %}
  var largest{{ f }} = s0_{{ f }};
{% for t in range(1, own_keys) %}
  largest{{ f }} = max(largest{{ f }}, s{{ t }}_{{ f }});
{% endfor %}
{% endfor %}
{{ of_all('largest', 'max(all, one)') }}
{% for f in range(query_fours) %}
  largest{{ f }} = vec4<f32>({% for e in range(4) %}of_query[(own_four + {{ f * query_groups }}) * 4 + {{ e }}]{{ ', ' if not loop.last }}{% endfor %});
  var total{{ f }} = vec4<f32>();
{% for t in range(own_keys) %}
  s{{ t }}_{{ f }} = exp(s{{ t }}_{{ f }} - largest{{ f }});
  total{{ f }} += s{{ t }}_{{ f }};
{% endfor %}
{% endfor %}
{{ of_all('total', 'all + one') }}

  let own_sums = local / {{ fours }} % {{ query_groups }};
  let own_channel = local % {{ fours }};
  let own_part = local / {{ fours * query_groups }};
{% for q in range(query_fours * 4) %}
  var sum{{ q }} = vec4<f32>();
{% endfor %}
  let weights_from = own_sums * {{ layout.weights_row }} + own_part * {{ part_keys }};
  let values_from = {{ layout.values_at }} + own_part * {{ part_keys * fours }} + own_channel;
{% for number in range(own_keys // chunk) %}
{% for t in range(chunk) %}
{% for f in range(query_fours) %}
  memory[(own_four + {{ f * query_groups }}) * {{ layout.weights_row }} + own_key + {{ t * key_groups }}] = s{{ number * chunk + t }}_{{ f }};
{% endfor %}
{% endfor %}
{% for l in range(value_loads) %}
{% set value = 'value%d_%d' % (number, l) %}
{# behind the last key come zeros: no number times the weight 0 may be NaN #}
{% set value = 'select(vec4<f32>(), %s, %d + (local + %d) / %d < %d)' % (value, number * chunk_keys, l * invocations, fours, area) if area < keys else value %}
{{ shared_out(l, chunk_keys * fours, 'memory[%d + local] = %s;' % (layout.values_at + l * invocations, value)) }}
{% endfor %}
{% if not loop.last %}
{{ load_values(number + 1) }}
{% endif %}
  workgroupBarrier();
  for (var key = 0; key < {{ part_keys }}; key += 1) {
{% for f in range(query_fours) %}
    let w{{ f }} = memory[weights_from + {{ f * query_groups * layout.weights_row }} + key];
{% endfor %}
    let v = memory[values_from + key * {{ fours }}];
{% for f in range(query_fours) %}
{% for e in range(4) %}
    sum{{ f * 4 + e }} = fma(vec4<f32>(w{{ f }}.{{ 'xyzw'[e] }}), v, sum{{ f * 4 + e }});
{% endfor %}
{% endfor %}
  }
  workgroupBarrier();
{% endfor %}

{% for f in range(query_fours) %}
{% for e in range(4) %}
  memory[(own_part * {{ fours }} + own_channel) * {{ layout.sums_row }} + (own_sums + {{ f * query_groups }}) * 4 + {{ e }}] = sum{{ f * 4 + e }};
{% endfor %}
{% endfor %}
  workgroupBarrier();
  for (var item = local; item < {{ queries * fours }}; item += {{ invocations }}) {
    let query = item / {{ fours }};
    let channel = item % {{ fours }};
    let token = token_of[min(first_query + query, {{ area - 1 }})];
    if (first_query + query < {{ area }} && token >= 0) {
      let sum = {% for part in range(parts) %}memory[({{ part * fours }} + channel) * {{ layout.sums_row }} + query]{{ ' + ' if not loop.last }}{% endfor %};
      y[params.base_y + (image * params.y_image + token * params.y_token + head_channel) / 4 + channel] = {{ item }}(sum / of_query[query]);
    }
  }
{% endblock %}
