// arccos x; near 1 and -1 by arcsin of the half angle. WGSL's own may be off by 4096 units in the last place.
fn arccosine(x: F) -> F {
  let magnitude = abs(x);
  let half_angle = sqrt(max(0.5 * (1.0 - magnitude), F(0.0)));
  let far = magnitude > F(0.5);
  let part = arcsine_near(select(magnitude, half_angle, far));
  let right = select(1.5707963267948966 - part, 2.0 * part, far);
  let y = select(right, 3.141592653589793 - right, x < F(0.0));
  return select(y, quiet_nan(), (magnitude > F(1.0)) | is_nan(x));
}
