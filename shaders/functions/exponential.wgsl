// exp x with NaN left as it is, of which WGSL says nothing.
fn exponential(x: F) -> F {
  return select(exp(x), x, is_nan(x));
}
