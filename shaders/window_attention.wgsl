// Attention within the windows of a grid of tokens, from their projections q, k and v to the heads side by side.
//
//   y[t] = sum over keys of softmax(scale q[t] . k + bias + mask) v
//
// Tokens lie row by row on a grid of height x width, padded to whole windows of {{ window }} a side and rolled by -shift. Each
// workgroup computes one head of up to {{ invocations * queries }} queries of one window, {{ queries }} an invocation, with a running maximum, so
// that no score is ever stored. Keys and values go through workgroup memory, {{ keys }} at a time.
//
// x is [B, tokens, 3 C] in {{ pieces }} piece(s) of tokens, each bound by itself, y is [B, tokens, C]; both by strides with the
// channels side by side. bias is [heads, keys, queries]: neighbours read what lies side by side. padding is what stands
// outside of the grid. Rows of the dispatch are windows, those of one image after the other.
// The host guarantees: every tensor lies whole within its bindings.
{% extends "bases/kernel.wgsl" %}
{% set fours = size // 4 %}
{% set keeps_tokens = true %}
{% set keeps_regions = mask_value != '' %}
{% set together = 4 %}
{% set area = window * window %}
{% block declarations %}
var<workgroup> token_of: array<i32, {{ area }}>;
{% if keeps_regions %}
var<workgroup> region_of: array<i32, {{ area }}>;
{% endif %}
// [key][k, v][channel / 4]
var<workgroup> tile: array<vec4<f32>, {{ keys * 2 * fours }}>;

{% include "parts/window.wgsl" %}
{% endblock %}
{% block main %}
{% include "parts/window_begin.wgsl" %}

{% for i in range(queries) %}
  let place{{ i }} = group % {{ blocks }} * {{ invocations * queries }} + local + {{ i * invocations }};
  // beyond the window a query is computed like its last one, and not stored
  let query{{ i }} = min(place{{ i }}, {{ area - 1 }});
  let token{{ i }} = token_of[query{{ i }}];
{% if mask_value %}
  let region{{ i }} = region_of[query{{ i }}];
{% endif %}
{% for c in range(fours) %}
  let q{{ i }}_{{ c }} = load_padded(image, token{{ i }}, head * {{ size }} + {{ c * 4 }}) * {{ scale }};
  var sum{{ i }}_{{ c }} = vec4<f32>();
{% endfor %}
  var largest{{ i }} = -3.0e38;
  var total{{ i }} = 0.0;
{% endfor %}

  for (var first = 0; first < {{ area }}; first += {{ keys }}) {
    let count = min({{ keys }}, {{ area }} - first);
    // up to whole fours of keys; {{ together }} loads are under way at a time
    let items = (count + 3) / 4 * {{ 8 * fours }};
    for (var item = local; item < items; item += {{ together * invocations }}) {
{% for l in range(together) %}
      let item{{ l }} = min(item + {{ l * invocations }}, items - 1);
      let key{{ l }} = first + item{{ l }} / {{ 2 * fours }};
      let channel{{ l }} = (item{{ l }} / {{ fours }} % 2 + 1) * params.channels + head * {{ size }} + item{{ l }} % {{ fours }} * 4;
      let loaded{{ l }} = load_padded(image, token_of[min(key{{ l }}, {{ area - 1 }})], channel{{ l }});
{% endfor %}
{% for l in range(together) %}
      if (item + {{ l * invocations }} < items) {
{% if area % 4 %}
        // behind the last key come zeros, whose scores are below all others
        tile[item{{ l }}] = select(vec4<f32>(), loaded{{ l }}, key{{ l }} < {{ area }});
{% else %}
        tile[item{{ l }}] = loaded{{ l }};
{% endif %}
      }
{% endfor %}
    }
    workgroupBarrier();
    // four keys at a time: one step of the running maximum for all of them
    for (var key = 0; key < count; key += 4) {
      let at = key * {{ 2 * fours }};
      let bias_at = params.base_bias + (head * {{ area }} + first + key) * {{ area }};
{% for i in range(queries) %}
      var scores{{ i }} = vec4<f32>();
{% for e in range(4) %}
{% if area % 4 %}
      scores{{ i }}[{{ e }}] = -3.0e38;
      if (first + key + {{ e }} < {{ area }}) {
        scores{{ i }}[{{ e }}] = f32(bias[bias_at + {{ e * area }} + query{{ i }}]);
      }
{% else %}
      scores{{ i }}[{{ e }}] = f32(bias[bias_at + {{ e * area }} + query{{ i }}]);
{% endif %}
{% endfor %}
{% endfor %}
{% if mask_value %}
      let regions = vec4<i32>({% for e in range(4) %}region_of[{{ 'min(first + key + ' ~ e ~ ', ' ~ (area - 1) ~ ')' if area % 4 else 'first + key + ' ~ e }}]{{ ', ' if not loop.last }}{% endfor %});
{% for i in range(queries) %}
      scores{{ i }} += select(vec4<f32>(), vec4<f32>({{ mask_value }}), regions != vec4<i32>(region{{ i }}));
{% endfor %}
{% endif %}
{% for c in range(fours) %}
{% for e in range(4) %}
      let k{{ c }}_{{ e }} = tile[at + {{ e * 2 * fours + c }}];
{% endfor %}
{% for i in range(queries) %}
      scores{{ i }} += vec4<f32>({% for e in range(4) %}dot(q{{ i }}_{{ c }}, k{{ c }}_{{ e }}){{ ', ' if not loop.last }}{% endfor %});
{% endfor %}
{% endfor %}
{% for i in range(queries) %}
      let new_largest{{ i }} = max(largest{{ i }}, max(max(scores{{ i }}.x, scores{{ i }}.y), max(scores{{ i }}.z, scores{{ i }}.w)));
      let correction{{ i }} = exp(largest{{ i }} - new_largest{{ i }});
      let weights{{ i }} = exp(scores{{ i }} - new_largest{{ i }});
      largest{{ i }} = new_largest{{ i }};
      total{{ i }} = total{{ i }} * correction{{ i }} + dot(weights{{ i }}, vec4<f32>(1.0));
{% endfor %}
{% for c in range(fours) %}
{% for e in range(4) %}
      let v{{ c }}_{{ e }} = tile[at + {{ e * 2 * fours + fours + c }}];
{% endfor %}
{% for i in range(queries) %}
      sum{{ i }}_{{ c }} = sum{{ i }}_{{ c }} * correction{{ i }}{% for e in range(4) %} + weights{{ i }}.{{ 'xyzw'[e] }} * v{{ c }}_{{ e }}{% endfor %};
{% endfor %}
{% endfor %}
    }
    workgroupBarrier();
  }
{% for i in range(queries) %}
  if (place{{ i }} < {{ area }} && token{{ i }} >= 0) {
    let at = params.base_y + (image * params.y_image + token{{ i }} * params.y_token + head * {{ size }}) / 4;
{% for c in range(fours) %}
    y[at + {{ c }}] = {{ item }}(sum{{ i }}_{{ c }} / total{{ i }});
{% endfor %}
  }
{% endfor %}
{% endblock %}
