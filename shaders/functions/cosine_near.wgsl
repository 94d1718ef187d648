// cos x for |x| <= pi/4; the polynomial is that of Moshier's Cephes library.
fn cosine_near(x: F) -> F {
  let z = x * x;
  let tail = (2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2;
  return 1.0 - 0.5 * z + z * z * tail;
}
