// The scale and zero point by which uint8 covers the range of a tensor and 0:
//
//   scale = (max - min) / 255, or 1 where all is 0 or NaN is among it;  zero = saturate(round(-min / scale))
//
// extremes  [{{ parts }}, 2]: min <= 0 and max >= 0 of each part of the tensor (extremes.wgsl). One workgroup.
{% include "parts/params.wgsl" %}
{% set vec = 1 %}
{% include "parts/types.wgsl" %}
{% include "functions/is_nan.wgsl" %}
{% include "functions/is_inf.wgsl" %}
{% include "functions/ordered.wgsl" %}
{% include "functions/larger.wgsl" %}
{% include "functions/smaller.wgsl" %}
{% include "functions/divided.wgsl" %}

var<workgroup> least: array<f32, {{ invocations }}>;
var<workgroup> largest: array<f32, {{ invocations }}>;

@compute @workgroup_size({{ invocations }})
fn main(@builtin(local_invocation_index) local: u32) {
  var low = 0.0;
  var high = 0.0;
  for (var p = i32(local); p < {{ parts }}; p += {{ invocations }}) {
    low = smaller(low, extremes[params.base_extremes + p * 2]);
    high = larger(high, extremes[params.base_extremes + p * 2 + 1]);
  }
  least[local] = low;
  largest[local] = high;
{% include "parts/extremes.wgsl" %}
  if (local == 0u) {
    let covers = largest[0] > least[0] && ordered(largest[0], least[0]);
    let step = select(1.0, divided(largest[0] - least[0], 255.0), covers);
    scale[params.base_scale] = step;
    // an infinite range, or one too small for a scale, makes NaN
    let units = divided(-least[0], step);
    zero[params.base_zero] = select(u32(clamp(round(units), 0.0, 255.0)), 0u, is_nan(units));
  }
}
