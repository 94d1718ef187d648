// y[i, j] = levels(clamp(sum over s, t of down[i, s] * right[j, t] * x[first_i + s, first_j + t], 0, 1))
//
// x is a plane of f32 of `x_width` pixels a line. An item of lines is the first line of x that one of y is made of, and how
// many they are: those of i, then those of j. Their weights lie in as many runs of `row_taps` and then `column_taps` items.
// Levels: what lies between black and white is stretched to 0 and 1.
// The host guarantees: lines lie within x; count rows of y, and what they are made of, within every binding.
{% extends "bases/pixels.wgsl" %}
{% block declarations %}
fn value(row: i32, column: i32) -> f32 {
  let down = lines[params.base_lines + row];
  let right = lines[params.base_lines + params.height + column];
  let row_weights = params.base_weights + row * params.row_taps;
  let column_weights = params.base_weights + params.height * params.row_taps + column * params.column_taps;
  var total = 0.0;
  var begin = params.base_x + down.x * params.x_width + right.x;
  for (var s = 0; s < down.y; s += 1) {
    var line = 0.0;
    for (var t = 0; t < right.y; t += 1) {
      line += weights[column_weights + t] * x[begin + t];
    }
    total += weights[row_weights + s] * line;
    begin += params.x_width;
  }
  let mask = clamp(total, 0.0, 1.0);
{% if levels %}
  return clamp((mask - bitcast<f32>(params.black)) / bitcast<f32>(params.span), 0.0, 1.0);
{% else %}
  return mask;
{% endif %}
}
{% endblock %}
