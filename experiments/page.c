// A page of HTML. Contracts in page.h.
#include "experiments/page.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// System fonts, one column on a phone; a wide table scrolls in its own box. Plots are drawn in currentColor.
static const char *const style[] = {
    ":root{color-scheme:light "
    "dark;--ground:#fcfcfa;--ink:#1f2328;--soft:#5c6470;--line:#dcdfe3;--panel:#f4f5f3}",
    "@media (prefers-color-scheme:dark){:root{--ground:#14161a;--ink:#e3e6ea;--soft:#9ba3ae;--line:#2d323a;"
    "--panel:#1b1e24}}",
    "*{box-sizing:border-box}",
    "body{margin:0;background:var(--ground);color:var(--ink);font:1rem/1.6 system-ui,-apple-system,'Segoe "
    "UI',"
    "Roboto,sans-serif;-webkit-text-size-adjust:100%}",
    "main{max-width:76rem;margin:0 auto;padding:2.5rem 1rem 4rem}",
    "h1{font-size:1.9rem;line-height:1.2;margin:0 0 .5rem;letter-spacing:-.01em;overflow-wrap:anywhere}",
    "h2{font-size:1.25rem;line-height:1.3;margin:3.5rem 0 .75rem}",
    "h3{font-size:1rem;margin:0 0 .5rem}",
    "p{margin:0 0 1rem;max-width:44rem}",
    ".soft,figcaption,caption{color:var(--soft)}",
    "figcaption,caption{font-size:.875rem;line-height:1.5}",
    ".table{overflow-x:auto;margin:0 0 1rem;border:1px solid var(--line);border-radius:.5rem}",
    "table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}",
    "th,td{padding:.55rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}",
    "tbody tr:last-child>*{border-bottom:0}",
    "thead "
    "th{font-weight:600;vertical-align:bottom;white-space:normal;min-width:5rem;background:var(--panel)}",
    "tbody th{font-weight:500}",
    "th:first-child,td.word,th.word{text-align:left}",
    "tbody th:first-child{min-width:9.5rem;max-width:22rem;white-space:normal;overflow-wrap:anywhere}",
    "td small{color:var(--soft);font-size:.85em}",
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,28rem),1fr));gap:3rem "
    "2.5rem}",
    "figure{margin:0;min-width:0}",
    "figure svg.plot{display:block;width:100%;height:auto}",
    "svg text{font-family:inherit}",
    "img{display:block;max-width:100%;height:auto;border-radius:.35rem;margin:0 0 .5rem}",
    ".pictures{grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:2rem 1.5rem}",
    "ul.key{list-style:none;margin:.5rem 0 .75rem;padding:0;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;"
    "font-size:.875rem}",
    "ul.key li{display:flex;align-items:center;gap:.45rem;min-width:0;overflow-wrap:anywhere}",
    "ul.key svg{flex:none}",
    "details{margin:0 0 1.5rem}",
    "summary{cursor:pointer;padding:.4rem 0;font-weight:500}",
    "dl{max-width:44rem;margin:0}dt{font-weight:600}dd{margin:0 0 .75rem;color:var(--soft)}",
    ".note{border-left:3px solid #c07a00;padding:.5rem 1rem;background:var(--panel)}",
    "a{color:inherit}",
    "@media (min-width:48rem){main{padding:4rem 2rem 6rem}h1{font-size:2.3rem}}",
    "@media print{details>*{display:block}.table{overflow:visible}}",
    NULL};

void page_free(struct page *p) {
    mem_free(p->text);
    *p = (struct page){0};
}

void page_put(struct page *p, const char *bytes, size_t length) {
    if (p->length + length + 1 > p->room) {
        size_t room = (p->length + length + 1) * 2;
        char *text = mem_new(room, 1);
        if (p->text) memcpy(text, p->text, p->length);
        mem_free(p->text);
        p->text = text;
        p->room = room;
    }
    memcpy(p->text + p->length, bytes, length);
    p->length += length;
    p->text[p->length] = '\0';
}

void page_add(struct page *p, const char *format, ...) {
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, list);
    CHECK(length >= 0, "page_add: bad format %s", format);
    char *text = mem_new((size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    page_put(p, text, (size_t)length);
    mem_free(text);
    va_end(again);
    va_end(list);
}

// Bytes of the UTF-8 character at `s`; 0 when it is none (names are cut to a length in bytes).
static size_t character_length(const unsigned char *s) {
    size_t length = s[0] < 0x80   ? 1
                    : s[0] < 0xc2 ? 0
                    : s[0] < 0xe0 ? 2
                    : s[0] < 0xf0 ? 3
                    : s[0] < 0xf5 ? 4
                                  : 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    return length;
}

void page_text(struct page *p, const char *text) {
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t length = character_length(s);
        if (length == 0 || *s < ' ' || *s == 0x7f)
            page_add(p, "?");
        else if (strchr("&<>\"'`\\", *s))
            page_add(p, "&#%d;", *s);
        else
            page_put(p, (const char *)s, length);
        s += length ? length : 1;
    }
}

void page_base64(struct page *p, const unsigned char *bytes, size_t count) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i;
        uint32_t three = (uint32_t)bytes[i] << 16;
        if (left > 1) three |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2) three |= bytes[i + 2];
        char four[4] = {digit[three >> 18], digit[three >> 12 & 63], left > 1 ? digit[three >> 6 & 63] : '=',
                        left > 2 ? digit[three & 63] : '='};
        page_put(p, four, sizeof four);
    }
}

void page_begin(struct page *p, const char *title) {
    page_add(p, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n");
    page_add(p, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<title>");
    page_text(p, title);
    page_add(p, "</title>\n<style>\n");
    for (int i = 0; style[i]; i++) page_add(p, "%s\n", style[i]);
    page_add(p, "</style>\n</head>\n<body>\n<main>\n");
}

void page_end(struct page *p) {
    page_add(p, "</main>\n</body>\n</html>\n");
}
