// y[p] = (min, max) over the columns of part p of the pixels of a deformable convolution, with 0: what extremes.wgsl finds of
// a tensor, without the columns in memory. NaN is the extreme of its part.
//
// x, offset and mask lie as for conv.wgsl, channels in fours. y is [parts, 4, 2]: channels at one place of four have extremes
// of their own. A part is a number of output pixels, for one workgroup; the last one is what is left of all.
// The host guarantees: x lies whole within its binding, and count parts within those of the others.
{% extends "bases/kernel.wgsl" %}
{% set vec = 4 %}
{% set integer = false %}
{% set functions = ["is_nan", "larger", "smaller"] %}
{% set S = 'vec4<f32>' %}
{% block declarations %}
var<workgroup> least: array<{{ S }}, {{ invocations }}>;
var<workgroup> largest: array<{{ S }}, {{ invocations }}>;

{% include "parts/conv_loader.wgsl" %}
{% endblock %}
{% block main %}
  // workgroups past the last part look through it once more: barriers want all invocations
  let p = params.first + min(i32(workgroup_id.y * num_workgroups.x + workgroup_id.x), params.count - 1);
  let first_pixel = p * params.part_pixels;
  let items = (min(first_pixel + params.part_pixels, params.pixels) - first_pixel) * params.pixel_items;
  var low = F(0.0);
  var high = F(0.0);
  for (var item = i32(local_index); item < items; item += {{ invocations }}) {
    let m = item / params.pixel_items;
    let tap_item = item - m * params.pixel_items;
    let tap = tap_item / params.channel_items;
    let tap_y = tap / params.kernel_x;
    let pixel = pixel_of(first_pixel + m, params.pixels - 1);
    let value = load_x(pixel, tap_y, tap - tap_y * params.kernel_x, (tap_item - tap * params.channel_items) * 4);
    low = smaller(low, value);
    high = larger(high, value);
  }
{% include "parts/extremes.wgsl" %}
{% include "parts/extremes_store.wgsl" %}
{% endblock %}
