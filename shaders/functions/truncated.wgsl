// x rounded toward zero as i32, saturated; NaN is 0. The conversion itself is defined only inside of the range.
fn truncated(x: F) -> I {
  let inside = I(clamp(x, F(-2147483648.0), F(2147483520.0)));
  return select(select(inside, I(2147483647), x >= F(2147483648.0)), I(0), is_nan(x));
}
