// The inverse hyperbolic sine; the square of large x would overflow, and there it is log(2x).
fn arsinh(x: F) -> F {
  let magnitude = abs(x);
  let near = min(magnitude, F(1e9));
  let square = near * near;
  let bounded = log1p(near + square / (1.0 + sqrt(square + 1.0)));
  let y = select(bounded, log(magnitude) + 0.693147180559945, magnitude > F(1e9));
  return select(bitcast<F>(bitcast<U>(y) | (bitcast<U>(x) & U(0x80000000u))), x, is_nan(x));
}
