// tan x; WGSL's own may be off by far more than a float's last digits.
fn tangent(x: F) -> F {
  let angle = quarter_turns(x);
  let s = sine_near(angle);
  let c = cosine_near(angle);
  return select(s / c, -c / s, (quadrant(x) & I(1)) == I(1));
}
