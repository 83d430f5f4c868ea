package filter

import (
	"github.com/weirproxy/weir/core/config"
	"github.com/weirproxy/weir/core/exchange"
)

// AppendTemplate appends what t says of x. A fact that x does not have leaves nothing; whole reports whether all were had.
func AppendTemplate(dst []byte, t *config.Template, x *exchange.Exchange) (_ []byte, whole bool) {
	whole = true
	for i := range t.Parts {
		p := &t.Parts[i]
		n := len(dst)
		switch p.Ref.Kind {
		case "":
			dst = append(dst, p.Text...)
			continue
		case config.RefSubject:
			if x.Identity != nil {
				dst = append(dst, x.Identity.Subject...)
			}
		case config.RefClaim:
			if x.Identity != nil {
				v, _ := x.Identity.Claim(p.Ref.Name)
				dst = append(dst, v...)
			}
		case config.RefRequestID:
			dst = append(dst, x.RequestID...)
		case config.RefClientIP:
			dst = x.Client.IP.AppendTo(dst)
		case config.RefRouteName:
			dst = append(dst, x.Record.Route...)
		case config.RefPath:
			dst = append(dst, x.Params.Get(p.Ref.Name)...)
		}
		whole = whole && len(dst) > n
	}
	return dst, whole
}
