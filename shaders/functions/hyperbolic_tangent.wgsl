// tanh x, from expm1 of -2|x|, which neither cancels near 0 nor overflows far out.
fn hyperbolic_tangent(x: F) -> F {
  let decay = expm1(-2.0 * abs(x));
  let y = select(-decay / (2.0 + decay), x, is_nan(x));
  return bitcast<F>(bitcast<U>(y) | (bitcast<U>(x) & U(0x80000000u)));
}
