// exp(x) - 1 without the cancellation near 0, where its Taylor series takes over; NaN stays.
fn expm1(x: F) -> F {
  let near = clamp(x, F(-0.5), F(0.5));
  var sum = 1.0 + near * (1.0 / 9.0);
  sum = 1.0 + near * (1.0 / 8.0) * sum;
  sum = 1.0 + near * (1.0 / 7.0) * sum;
  sum = 1.0 + near * (1.0 / 6.0) * sum;
  sum = 1.0 + near * (1.0 / 5.0) * sum;
  sum = 1.0 + near * (1.0 / 4.0) * sum;
  sum = 1.0 + near * (1.0 / 3.0) * sum;
  sum = 1.0 + near * (1.0 / 2.0) * sum;
  return select(select(exp(x) - 1.0, near * sum, abs(x) <= F(0.5)), x, is_nan(x));
}
