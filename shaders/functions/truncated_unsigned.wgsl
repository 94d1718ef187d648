// x rounded toward zero as u32, saturated; NaN is 0. The conversion itself is defined only inside of the range.
fn truncated_unsigned(x: F) -> U {
  let inside = U(clamp(x, F(0.0), F(4294967040.0)));
  return select(select(inside, U(4294967295u), x >= F(4294967296.0)), U(0u), is_nan(x));
}
