// The smaller of two floats; NaN wins, which WGSL's min leaves open.
fn smaller(a: F, b: F) -> F {
  return select(select(min(a, b), b, is_nan(b)), a, is_nan(a));
}
