// sin x; WGSL's own may be off by 2^-11.
fn sine(x: F) -> F {
  let quarter = quadrant(x);
  let angle = quarter_turns(x);
  let y = select(sine_near(angle), cosine_near(angle), (quarter & I(1)) == I(1));
  return select(y, -y, quarter >= I(2));
}
