// cos x; WGSL's own may be off by 2^-11.
fn cosine(x: F) -> F {
  let quarter = quadrant(x);
  let angle = quarter_turns(x);
  let y = select(cosine_near(angle), sine_near(angle), (quarter & I(1)) == I(1));
  return select(y, -y, (quarter == I(1)) | (quarter == I(2)));
}
