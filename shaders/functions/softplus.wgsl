// log(1 + exp(x)) without overflow.
fn softplus(x: F) -> F {
  return select(max(x, F(0.0)) + log1p(exp(-abs(x))), x, is_nan(x));
}
