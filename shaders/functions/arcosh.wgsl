// The inverse hyperbolic cosine; the square of large x would overflow, and there it is log(2x).
fn arcosh(x: F) -> F {
  let above = clamp(x - 1.0, F(0.0), F(1e9));
  let y = select(log1p(above + sqrt(above * (above + 2.0))), log(x) + 0.693147180559945, x > F(1e9));
  return select(y, quiet_nan(), (x < F(1.0)) | is_nan(x));
}
