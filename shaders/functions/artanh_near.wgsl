// The inverse hyperbolic tangent for |x| <= 1/3, by its Taylor series.
fn artanh_near(x: F) -> F {
  let z = x * x;
  var sum = z * (1.0 / 15.0) + (1.0 / 13.0);
  sum = sum * z + (1.0 / 11.0);
  sum = sum * z + (1.0 / 9.0);
  sum = sum * z + (1.0 / 7.0);
  sum = sum * z + (1.0 / 5.0);
  sum = sum * z + (1.0 / 3.0);
  return x + x * (z * sum);
}
