// arcsin x for 0 <= x <= 1/2; the polynomial is that of Moshier's Cephes library.
fn arcsine_near(x: F) -> F {
  let z = x * x;
  var p = (4.2163199048e-2 * z + 2.4181311049e-2) * z + 4.5470025998e-2;
  p = (p * z + 7.4953002686e-2) * z + 1.6666752422e-1;
  return x + x * (z * p);
}
