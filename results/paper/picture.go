package paper

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"image/png"
	"io"
	"math"
	"strconv"
	"strings"
)

var errNotSVG = errors.New("its first element isn't svg")

func (p Picture) check(number uint32) error {
	if len(p.PNG) == 0 && len(p.SVG) == 0 {
		return fmt.Errorf("figure %d: missing picture: needs a PNG or an SVG", number)
	}
	if len(p.PNG) > 0 {
		if _, err := png.DecodeConfig(bytes.NewReader(p.PNG)); err != nil {
			return fmt.Errorf("figure %d: its PNG can't be read: %w", number, err)
		}
	}
	if len(p.SVG) > 0 {
		if _, err := svgWidth(p.SVG); err != nil {
			return fmt.Errorf("figure %d: its SVG can't be read: %w", number, err)
		}
	}
	return nil
}

// dataURI returns a picture as a data URI. Base64 has no characters with a meaning in HTML.
func (p Picture) dataURI() template.URL {
	kind, content := "image/svg+xml", p.SVG
	if len(content) == 0 {
		kind, content = "image/png", p.PNG
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(content))
}

// width returns the natural width of a picture in CSS pixels (1/96 inch), or 0 if the picture does not say.
func (p Picture) width() int {
	if len(p.SVG) > 0 {
		pixels, err := svgWidth(p.SVG)
		if err != nil {
			return 0
		}
		return pixels
	}
	config, err := png.DecodeConfig(bytes.NewReader(p.PNG))
	if err != nil {
		return 0
	}
	density := pngDensity(p.PNG)
	if density == 0 {
		return config.Width
	}
	const metersPerPixel = 0.0254 / 96
	return int(math.Ceil(float64(config.Width) / (float64(density) * metersPerPixel)))
}

// pngDensity returns the pixels per metre of a PNG, or 0 if the PNG does not say (PNG specification, third edition,
// 11.3.4.3). The chunk that says so comes before the first one with pixels.
func pngDensity(file []byte) uint32 {
	const signature, head, tail = 8, 8, 4 // bytes: of the file, before a chunk's data, behind it
	for at := signature; at+head+9 <= len(file); {
		length, kind := binary.BigEndian.Uint32(file[at:]), string(file[at+4:at+head])
		switch {
		case kind == "pHYs" && length == 9 && file[at+head+8] == 1:
			return binary.BigEndian.Uint32(file[at+head:])
		case kind == "IDAT" || uint64(length) > uint64(len(file)):
			return 0
		}
		at += head + int(length) + tail
	}
	return 0
}

// svgWidth returns the width of a document in CSS pixels, or 0 if the document does not say. It reads the document to
// its end, because a browser shows nothing of a document that isn't well-formed.
func svgWidth(document []byte) (int, error) {
	decoder := xml.NewDecoder(bytes.NewReader(document))
	started, width := false, 0
	for {
		token, err := decoder.Token()
		switch {
		case errors.Is(err, io.EOF) && started:
			return width, nil
		case errors.Is(err, io.EOF):
			return 0, errNotSVG
		case err != nil:
			return 0, err
		}
		element, ok := token.(xml.StartElement)
		if !ok || started {
			continue
		}
		if element.Name.Local != "svg" || element.Name.Space != "http://www.w3.org/2000/svg" {
			return 0, fmt.Errorf("%w: it is %q of %q", errNotSVG, element.Name.Local, element.Name.Space)
		}
		started = true
		for _, attribute := range element.Attr {
			if attribute.Name.Local == "width" {
				width = cssPixels(attribute.Value)
			}
		}
	}
}

// cssPixels converts a length in points or pixels, rounded up. For other units it returns 0: unknown.
func cssPixels(length string) int {
	number, scale := strings.TrimSuffix(length, "px"), 1.0
	if inPoints, ok := strings.CutSuffix(length, "pt"); ok {
		number, scale = inPoints, 96.0/72
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !(value > 0) || value > 1e5 {
		return 0
	}
	return int(math.Ceil(value * scale))
}
