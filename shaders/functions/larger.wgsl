// The larger of two floats; NaN wins, which WGSL's max leaves open.
fn larger(a: F, b: F) -> F {
  return select(select(max(a, b), b, is_nan(b)), a, is_nan(a));
}
