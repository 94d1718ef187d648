// y = 1 / (1 + ((1 - x) / x)^p), p = (1.0743 - 0.0743 r^2) / r, r = before / after within `sharpest` and 1
//
// The edges of the plane x made as narrow as they had been: `before` and `after` are the sums of m (1 - m) around each
// pixel, of what x was blurred from and of x. All are planes of one size.
// The host guarantees: count rows of all lie within every binding.
{% extends "bases/pixels.wgsl" %}
{% block declarations %}
fn value(row: i32, column: i32) -> f32 {
  let place = row * params.width + column;
  let mask = x[params.base_x + place];
  if (mask <= 0.0) {
    return 0.0;
  }
  if (mask >= 1.0) {
    return 1.0;
  }
  let sum_after = after[params.base_after + place];
  var ratio = 1.0;
  if (sum_after > 0.0) {
    ratio = clamp(before[params.base_before + place] / sum_after, bitcast<f32>(params.sharpest), 1.0);
  }
  let power = (1.0743 - 0.0743 * ratio * ratio) / ratio;
  // beyond these the result is 0 or 1
  return 1.0 / (1.0 + exp2(clamp(power * log2((1.0 - mask) / mask), -100.0, 100.0)));
}
{% endblock %}
