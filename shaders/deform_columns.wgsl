// The input of a deformable convolution under each moved tap, one element an invocation:
//
//   y[g, o, t, c] = mask[t, o] * (x[g, c] at o * stride + t * dilation - begin + offset[t, o])
//
// of one image: x is [1, C, *spatial]; offset [1, offset groups * taps * rank, *out] and mask [1, offset groups * taps,
// *out] hold the window positions from first_out of the first spatial axis on, count_out of them; all by strides. y is
// one dense run.
// Outside x stand zeros.
// The host guarantees: every tensor lies whole within its binding. Offsets may be anything: sample() clamps indices.
{% include "parts/params.wgsl" %}
{% include "parts/linear.wgsl" %}
{% include "parts/sample.wgsl" %}
{% set rank = extents | length %}

@compute @workgroup_size({{ invocations }})
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) local: u32,
) {
  let linear = linear_index(group, groups, local);
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
  let moved = channel / {{ offset_channels }} * {{ taps }} + tap;
  var taps_left = tap;
{% for axis in range(rank - 1, -1, -1) %}
{% set first = 'params.first_out + ' if axis == 0 else '' %}
  let still{{ axis }} = ({{ first }}o{{ axis }}) * {{ strides[axis] }} + taps_left % {{ kernel[axis] }} * {{ dilations[axis] }} - {{ begin[axis] }};
  taps_left = taps_left / {{ kernel[axis] }};
{% endfor %}
{% for axis in range(rank) %}
  let p{{ axis }} = f32(still{{ axis }}) + f32(offset[params.base_offset + (moved * {{ rank }} + {{ axis }}) * {{ offset_strides[1] }}{% for a in range(rank) %} + o{{ a }} * {{ offset_strides[a + 2] }}{% endfor %}]);
{% endfor %}
  var value = sample(params.base_x + channel * {{ channel_step }}{% for axis in range(rank) %}, p{{ axis }}{% endfor %});
{% if mask_strides %}
  value *= f32(mask[params.base_mask + moved * {{ mask_strides[1] }}{% for a in range(rank) %} + o{{ a }} * {{ mask_strides[a + 2] }}{% endfor %}]);
{% endif %}
  y[params.base_y + index] = value;
}
