// y[i, j] = sum over k from -reach to reach of weights[|k|] * f(x[{{ "i + k, j" if vertical else "i, j + k" }}]), where f(m) = {{ "m (1 - m)" if spread else "m" }}
//
// x and y are planes of one size; beyond its edge x counts as repeated outwards.
// The host guarantees: count rows of y, and those of x that they are made of, lie within every binding.
{% extends "bases/pixels.wgsl" %}
{% block declarations %}
fn source(row: i32, column: i32) -> f32 {
  let m = x[params.base_x + row * params.width + column];
  return {{ "m - m * m" if spread else "m" }};
}

fn value(row: i32, column: i32) -> f32 {
  var total = weights[params.base_weights] * source(row, column);
  for (var k = 1; k <= params.reach; k += 1) {
{% if vertical %}
    let pair = source(max(row - k, 0), column) + source(min(row + k, params.height - 1), column);
{% else %}
    let pair = source(row, max(column - k, 0)) + source(row, min(column + k, params.width - 1));
{% endif %}
    total += weights[params.base_weights + k] * pair;
  }
  return total;
}
{% endblock %}
