// Transposed convolution, one output element an invocation:
//
//   y[m, c] = epilogue(sum over taps t and channels i of x[image, i, s] * w[i, c, t]),
//   s * stride + t * dilation = position of m:
//
// the sum of what every input position whose window covers pixel m adds to it. i runs over the channels of c's group.
//
// x is [N, C, *spatial], w is [C, M / groups, *kernel], both by strides that are constants here.
// Spatial axes: {{ rank }}.
// The host guarantees: count pixels of y lie within every binding, and x's binding holds their images whole.
{% extends "bases/elements.wgsl" %}
{% set vec = 1 %}
{% block main %}
  let index = linear_index(workgroup_id, num_workgroups, local_index);
  if (index >= params.count * {{ groups * outputs }}) {
    return;
  }
  let m = params.first + index / {{ groups * outputs }};
  let c = index % {{ groups * outputs }};
  var rest = m;
{% for axis in range(rank - 1, -1, -1) %}
  let p{{ axis }} = rest % {{ out[axis] }} + {{ begin[axis] }};
  rest = rest / {{ out[axis] }};
{% endfor %}
  let group = c / {{ outputs }};
  let x_at = params.base_x + rest * {{ x_strides[0] }} + group * {{ channels * x_strides[1] }};
  let w_at = params.base_w + group * {{ channels * w_strides[0] }} + (c - group * {{ outputs }}) * {{ w_strides[1] }};
  var sum = 0.0;
{% include "parts/covering.wgsl" %}
    let x_tap = x_at{% for axis in range(rank) %} + s{{ axis }} * {{ x_strides[axis + 2] }}{% endfor %};
    let w_tap = w_at{% for axis in range(rank) %} + t{{ axis }} * {{ w_strides[axis + 2] }}{% endfor %};
    for (var i = 0; i < {{ channels }}; i += 1) {
      sum += f32(x[x_tap + i * {{ x_strides[1] }}]) * f32(w[w_tap + i * {{ w_strides[0] }}]);
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
