// y[i, j] = the largest value{{ ", of 1 - x and then taken from 1," if complement }} of the bilinear surface through the pixels of x at (i, j) + p, for each point p
//
// x and y are planes of one size. A point is how many whole rows and columns lie between it and the
// pixel, and, as bits of f32, the parts of one beyond them. A point that would need a pixel outside x does not count.
// The host guarantees: count rows of y, and those of x that points lead to, lie within every binding.
{% extends "bases/pixels.wgsl" %}
{% block declarations %}
fn source(row: i32, column: i32) -> f32 {
  let m = x[params.base_x + row * params.width + column];
  return {{ "1.0 - m" if complement else "m" }};
}

fn value(row: i32, column: i32) -> f32 {
  var highest = source(row, column);
  for (var k = 0; k < params.points; k += 1) {
    let point = points[params.base_points + k];
    let top = row + point.x;
    let left = column + point.y;
    let down = bitcast<f32>(point.z);
    let right = bitcast<f32>(point.w);
    let bottom = select(top, top + 1, down > 0.0);
    let end = select(left, left + 1, right > 0.0);
    if (top >= 0 && left >= 0 && bottom < params.height && end < params.width) {
      let upper = source(top, left);
      // the same for all pixels: most points are pixels themselves
      if (bottom == top && end == left) {
        highest = max(highest, upper);
        continue;
      }
      let first = upper + (source(bottom, left) - upper) * down;
      let upper_end = source(top, end);
      let second = upper_end + (source(bottom, end) - upper_end) * down;
      highest = max(highest, first + (second - first) * right);
    }
  }
  return {{ "1.0 - highest" if complement else "highest" }};
}
{% endblock %}
