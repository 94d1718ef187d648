// arctan x; WGSL's own may be off by 4096 units in the last place. The polynomial is that of Moshier's Cephes library.
fn arctangent(x: F) -> F {
  let magnitude = abs(x);
  let far = magnitude > F(2.414213562373095);
  let middle = !far & (magnitude > F(0.4142135623730950));
  let shifted = (magnitude - 1.0) / (magnitude + 1.0);
  let r = select(select(magnitude, shifted, middle), -1.0 / magnitude, far);
  let z = r * r;
  let p = ((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1;
  let start = select(select(F(0.0), F(0.7853981633974483), middle), F(1.5707963267948966), far);
  let y = select(start + (r + r * (z * p)), x, is_nan(x));
  return bitcast<F>(bitcast<U>(y) | (bitcast<U>(x) & U(0x80000000u)));
}
