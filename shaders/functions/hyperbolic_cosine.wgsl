// cosh x, as a product far out, since exp(|x|) overflows before the result does.
fn hyperbolic_cosine(x: F) -> F {
  let magnitude = abs(x);
  let below = exp(min(magnitude, F(20.0)));
  let root = exp(0.5 * magnitude);
  let y = select(0.5 * (below + 1.0 / below), 0.5 * root * root, magnitude > F(20.0));
  return select(y, x, is_nan(x));
}
