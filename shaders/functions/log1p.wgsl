// log(1 + x) for x >= 0 without the cancellation near 0, where it is 2 artanh(x / (2 + x)) by the series of that.
fn log1p(x: F) -> F {
  let near = min(x, F(1.0));
  return select(log(1.0 + x), 2.0 * artanh_near(near / (2.0 + near)), x <= F(1.0));
}
