// arcsin x; near 1 by that of the half angle. WGSL's own may be off by 4096 units in the last place.
fn arcsine(x: F) -> F {
  let magnitude = abs(x);
  let half_angle = sqrt(max(0.5 * (1.0 - magnitude), F(0.0)));
  let far = magnitude > F(0.5);
  let part = arcsine_near(select(magnitude, half_angle, far));
  let y = select(part, 1.5707963267948966 - 2.0 * part, far);
  let signed = bitcast<F>(bitcast<U>(y) | (bitcast<U>(x) & U(0x80000000u)));
  return select(signed, quiet_nan(), (magnitude > F(1.0)) | is_nan(x));
}
