// sinh x: from expm1 near 0, and as a product far out, since exp(|x|) overflows before the result does.
fn hyperbolic_sine(x: F) -> F {
  let magnitude = abs(x);
  let below = expm1(min(magnitude, F(20.0)));
  let root = exp(0.5 * magnitude);
  let y = select(0.5 * (below + below / (below + 1.0)), 0.5 * root * root, magnitude > F(20.0));
  return select(bitcast<F>(bitcast<U>(y) | (bitcast<U>(x) & U(0x80000000u))), x, is_nan(x));
}
