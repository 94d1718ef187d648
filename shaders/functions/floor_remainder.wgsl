// The remainder of a / b with the sign of b, as NumPy's mod.
fn floor_remainder(a: F, b: F) -> F {
  let r = remainder(a, b);
  return select(r, r + b, (r != F(0.0)) & ((r < F(0.0)) != (b < F(0.0))));
}
