// Transposed convolution, one output element an invocation:
//
//   y[m, c] = epilogue(sum over taps t and channels i of x[image, i, s] * w[i, c, t]),
//   s * stride + t * dilation = position of m:
//
// the sum of what every input position whose window covers pixel m adds to it. i runs over the channels of c's group.
//
// x is [N, C, *spatial], w is [C, M / groups, *kernel], both by strides.
// Spatial axes: {{ rank }}.
// The host guarantees: count pixels of y lie within every binding, and x's binding holds their images whole.
{% extends "bases/elements.wgsl" %}
{% set vec = 1 %}
{% block main %}
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * params.channels_out) {
    return;
  }
  let m = params.first + index / params.channels_out;
  let c = index % params.channels_out;
  var rest = m;
{% for axis in range(rank - 1, -1, -1) %}
  let p{{ axis }} = rest % params.out{{ axis }} + params.begin{{ axis }};
  rest = rest / params.out{{ axis }};
{% endfor %}
  let group = c / params.outputs;
  let x_at = params.base_x + rest * params.x_step0 + group * params.channels * params.x_step1;
  let w_at = params.base_w + group * params.channels * params.w_step0 + (c - group * params.outputs) * params.w_step1;
  var sum = 0.0;
{% include "parts/covering.wgsl" %}
    let x_tap = x_at{% for axis in range(rank) %} + s{{ axis }} * params.x_step{{ axis + 2 }}{% endfor %};
    let w_tap = w_at{% for axis in range(rank) %} + t{{ axis }} * params.w_step{{ axis + 2 }}{% endfor %};
    for (var i = 0; i < params.channels; i += 1) {
      sum += f32(x[x_tap + i * params.x_step1]) * f32(w[w_tap + i * params.w_step0]);
    }
{% for axis in range(rank) %}
  }
{% endfor %}
  store(m, c, 0, vec4<f32>(sum));
{% endblock %}
{% block store %}
fn store(m: i32, group: i32, n: i32, sums: vec4<f32>) {
{% include "parts/epilogue.wgsl" %}
}
{% endblock %}
