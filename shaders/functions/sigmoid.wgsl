// 1 / (1 + exp(-x)), with NaN left as it is.
fn sigmoid(x: F) -> F {
  return select(1.0 / (1.0 + exp(-x)), x, is_nan(x));
}
