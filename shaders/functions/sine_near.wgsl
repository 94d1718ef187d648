// sin x for |x| <= pi/4; the polynomial is that of Moshier's Cephes library.
fn sine_near(x: F) -> F {
  let z = x * x;
  return x + x * (z * ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1));
}
