// Convolution, one output element an invocation:
//
//   y[m, c] = epilogue(sum over taps t and channels i of x[image, group channels i, position(m, t)] * w[c, i, t])
//
// x is [N, C, *spatial] and w is [M, C / groups, *kernel], both by strides; spatial axes: {{ kernel | length }}.{{ ' Four elements of w are one word.' if bytes }}
// The host guarantees: count pixels of y lie within every binding, and x's binding holds their images whole.
{% extends "bases/elements.wgsl" %}
{% set vec = 1 %}
{% set S = 'i32' if integer else 'f32' %}
{% set rank = kernel | length %}
{% block indexing %}
{{ super() }}
{% if bytes %}
fn byte_of_w(at: i32) -> i32 {
  return i32({{ 'bitcast<i32>' if bytes == 'i8' }}(w[params.base_w + at / 4] << (24u - u32(at % 4) * 8u)) >> 24u);
}
{% endif %}
{% endblock %}
{% block main %}
  let channels_out = params.channels_out;
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * channels_out) {
    return;
  }
  let m = params.first + index / channels_out;
  let c = index % channels_out;
  var rest = m;
{% for axis in range(rank - 1, -1, -1) %}
  let o{{ axis }} = rest % params.out{{ axis }} * params.stride{{ axis }} - params.begin{{ axis }};
  rest = rest / params.out{{ axis }};
{% endfor %}
  let x_at = params.base_x + rest * params.x_step0 + c / params.outputs * params.channels * params.x_step1;
  let w_at = {{ '' if bytes else 'params.base_w + ' }}c * params.w_step0;
{% if has_x_zero %}
  let x_zero_point = {{ S }}(x_zero[params.base_x_zero]);
{% endif %}
{% if has_w_zero %}
  let w_zero_point = {{ S }}(w_zero[params.base_w_zero + c * params.w_zero_step]);
{% endif %}
  var sum = {{ S }}();
{% for axis in range(rank) %}
  for (var t{{ axis }} = 0; t{{ axis }} < {{ kernel[axis] }}; t{{ axis }} += 1) {
    let s{{ axis }} = o{{ axis }} + t{{ axis }} * params.dilation{{ axis }};
    if (s{{ axis }} < 0 || s{{ axis }} >= params.extent{{ axis }}) {
      continue;
    }
{% endfor %}
    let x_tap = x_at{% for axis in range(rank) %} + s{{ axis }} * params.x_step{{ axis + 2 }}{% endfor %};
    let w_tap = w_at{% for axis in range(rank) %} + t{{ axis }} * params.w_step{{ axis + 2 }}{% endfor %};
    for (var i = 0; i < {{ '1' if depthwise else 'params.channels' }}; i += 1) {
      let a = {{ S }}(x[x_tap + i * params.x_step1]){{ ' - x_zero_point' if has_x_zero }};
      let b = {{ 'byte_of_w(' if bytes else S ~ '(w[' }}w_tap + i * params.w_step1{{ ')' if bytes else '])' }}{{ ' - w_zero_point' if has_w_zero }};
      sum += a * b;
    }
{% for axis in range(rank) %}
  }
{% endfor %}
  store(m, c, 0, vec4<{{ S }}>(sum));
{% endblock %}
{% block store %}
fn store(m: i32, group: i32, n: i32, sums: vec4<{{ S }}>) {
{% include "parts/epilogue.wgsl" %}
}
{% endblock %}
