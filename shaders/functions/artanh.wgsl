// The inverse hyperbolic tangent: a series near 0, where the logarithm cancels.
fn artanh(x: F) -> F {
  let far = 0.5 * logarithm((1.0 + x) / (1.0 - x));
  let bounded = select(far, artanh_near(clamp(x, F(-0.25), F(0.25))), abs(x) <= F(0.25));
  return select(bounded, quiet_nan(), (abs(x) > F(1.0)) | is_nan(x));
}
