package kernel
import ("testing";"fmt";"os")
func TestScratchSingle(t *testing.T) {
	if os.Getenv("SCRATCH") == "" { t.Skip() }
	SetPath("avx512")
	var b testing.B
	for _, s := range []Shape{
		{8,8,8,1,1,1,1,0,0,false}, {8,8,8,8,1,1,1,0,0,false},{32,4,4,1,1,1,1,0,0,false},{32,4,4,8,1,1,1,0,0,false},{128,2,2,1,1,1,1,0,0,false},{16,4,4,1,3,3,1,0,0,false},{8,6,6,1,3,3,1,0,0,false}, {8,6,6,8,3,3,1,0,0,false}} {
		tl := newTile(&b, layer{s, None})
		d := minTime(func(){ for range 10 { tl.Forward(tl.y, tl.x, None)} })
		fma := s.FLOPs()/2*10
		fmt.Printf("%v %.2f cycles/fma\n", s, d.Seconds()*3.69e9/float64(fma))
	}
}
