// The input of a deformable convolution under each moved tap, one element an invocation:
//
//   y[g, o, t, c] = mask[t, o] * (x[g, c] at o * stride + t * dilation - begin + offset[t, o])
//
// of one image: x is [1, C, *spatial]; offset [1, offset groups * taps * rank, *out] and mask [1, offset groups * taps,
// *out] hold the window positions from first_out of the first spatial axis on, count_out of them; all by strides. y is
// one dense run.
// Outside x stand zeros.
// The host guarantees: every tensor lies whole within its binding. Offsets may be anything: sample() clamps indices.
{% extends "bases/elements.wgsl" %}
{% set rank = extents | length %}
{% block declarations %}
{% include "parts/sample.wgsl" %}
{% endblock %}
{% block main %}
  let linear = linear_index(workgroup_id, num_workgroups, local_index);
  if (linear >= params.count * {{ taps * channels }}) {
    return;
  }
  let index = params.first * {{ taps * channels }} + linear;
  let row = index / {{ taps * channels }};
  var rest = row;
{% for axis in range(rank - 1, -1, -1) %}
{% set extent = out[axis] if axis else 'params.count_out' %}
  let o{{ axis }} = rest % {{ extent }};
  rest = rest / {{ extent }};
{% endfor %}
  let inner = index - row * {{ taps * channels }};
  let tap = inner / {{ channels }};
  let channel = rest * {{ channels }} + inner - tap * {{ channels }};
  let offset_tap = channel / {{ offset_channels }} * {{ taps }} + tap;
  var rest_of_tap = tap;
{% for axis in range(rank - 1, -1, -1) %}
{% set first = 'params.first_out + ' if axis == 0 else '' %}
  let window{{ axis }} = ({{ first }}o{{ axis }}) * {{ strides[axis] }} + rest_of_tap % {{ kernel[axis] }} * {{ dilations[axis] }} - {{ begin[axis] }};
  rest_of_tap = rest_of_tap / {{ kernel[axis] }};
{% endfor %}
{% for axis in range(rank) %}
  let p{{ axis }} = f32(window{{ axis }}) + f32(offset[params.base_offset + (offset_tap * {{ rank }} + {{ axis }}) * {{ offset_strides[1] }}{% for a in range(rank) %} + o{{ a }} * {{ offset_strides[a + 2] }}{% endfor %}]);
{% endfor %}
  var value = sample(params.base_x + channel * {{ channel_step }}{% for axis in range(rank) %}, p{{ axis }}{% endfor %});
{% if mask_strides %}
  value *= f32(mask[params.base_mask + offset_tap * {{ mask_strides[1] }}{% for a in range(rank) %} + o{{ a }} * {{ mask_strides[a + 2] }}{% endfor %}]);
{% endif %}
  y[params.base_y + index] = value;
{% endblock %}
