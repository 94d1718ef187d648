// y[r, c, i, j] = mean or largest of the sample points in bin (i, j) of region r, one element of y an invocation.
//
// x is [N, C, H, W], rois [R, 4] holds (x1, y1, x2, y2) in units of 1 / scale pixels, batch [R] the image of each; all by
// strides. A point is the bilinear mean of four pixels; up to one pixel outside it takes the edge, beyond it weighs nothing.
// The largest is that of the four weighted pixels around each point, not of their sums.
// The host guarantees: count rows lie within every binding. Images and pixels are clamped, whatever the data holds.
{% extends "bases/elements.wgsl" %}
{% if largest %}
{% set vec = 1 %}
{% set functions = ["is_nan", "larger"] %}
{% endif %}
{% block declarations %}
struct Axis {
  start: f32,
  bin: f32,
  samples: i32,
}

fn axis_of(low: f32, high: f32, bins: i32) -> Axis {
  let length = {{ 'high - low' if half_pixel else 'max(high - low, 1.0)' }};
  let bin = length / f32(bins);
  return Axis(low - {{ '0.5' if half_pixel else '0.0' }}, bin, {{ ratio or 'i32(ceil(bin))' }});
}

struct Point {
  low: i32,
  high: i32,
  low_weight: f32,
  high_weight: f32,
}

fn point_at(axis: Axis, bin: i32, sample: i32, extent: i32) -> Point {
  let at = axis.start + (f32(bin) + (f32(sample) + 0.5) / f32(axis.samples)) * axis.bin;
  let inside = select(0.0, 1.0, at >= -1.0 && at <= f32(extent));
  let clamped = clamp(at, 0.0, f32(extent - 1));
  let low = clamp(i32(floor(clamped)), 0, extent - 1);
  let fraction = clamped - f32(low);
  return Point(low, min(low + 1, extent - 1), (1.0 - fraction) * inside, fraction * inside);
}
{% endblock %}
{% block element %}
  let vertical = axis_of({{ rois[1] }} * {{ scale }}, {{ rois[3] }} * {{ scale }}, {{ bins[0] }});
  let horizontal = axis_of({{ rois[0] }} * {{ scale }}, {{ rois[2] }} * {{ scale }}, {{ bins[1] }});
  let origin = params.base_x + {{ image }} * {{ x_strides[0] }} + {{ channel }} * {{ x_strides[1] }};
  var value = {{ '-3.4028234e38' if largest else '0.0' }};
  for (var v = 0; v < vertical.samples; v += 1) {
    let row = point_at(vertical, {{ bin_row }}, v, {{ height }});
    let low_row = origin + row.low * {{ x_strides[2] }};
    let high_row = origin + row.high * {{ x_strides[2] }};
    for (var h = 0; h < horizontal.samples; h += 1) {
      let column = point_at(horizontal, {{ bin_column }}, h, {{ width }});
      let low_column = column.low * {{ x_strides[3] }};
      let high_column = column.high * {{ x_strides[3] }};
      let weighted = vec4<f32>(
        f32(x[low_row + low_column]) * row.low_weight * column.low_weight,
        f32(x[low_row + high_column]) * row.low_weight * column.high_weight,
        f32(x[high_row + low_column]) * row.high_weight * column.low_weight,
        f32(x[high_row + high_column]) * row.high_weight * column.high_weight,
      );
{% if largest %}
      value = larger(value, larger(larger(weighted.x, weighted.y), larger(weighted.z, weighted.w)));
{% else %}
      value += weighted.x + weighted.y + weighted.z + weighted.w;
{% endif %}
    }
  }
  // a region turned inside out has no sample points
  let samples = max(vertical.samples, 0) * max(horizontal.samples, 0);
{% if largest %}
  value = select(value, 0.0, samples == 0);
{% else %}
  value = value / f32(max(samples, 1));
{% endif %}
  {{ target }} = {{ item }}(value);
{% endblock %}
