// The quarter of the circle, 0 to 3, whose middle is nearest to x: quarter_turns takes these off.
fn quadrant(x: F) -> I {
  return I(clamp(round(x * 0.6366197723675814), F(-1e9), F(1e9))) & I(3);
}
